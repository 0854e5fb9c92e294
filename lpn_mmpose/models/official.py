"""State dicts of LPN's original release, and how their keys map to ours.

The release's model is one module with PyTorch's plain layers; ours is a
``TopdownPoseEstimator`` with :class:`LPN` as ``backbone`` and
:class:`LPNHead` as ``head``. The tensors are the same.
"""
import re
from typing import Any, Dict, Mapping, Sequence, Tuple

from .lpn import LPN

#: Module names in the release and here; ``#`` stands for a number, the same
#: in both.
MODULE_NAMES: Tuple[Tuple[str, str], ...] = (
    ('conv1', 'backbone.stem.conv'),
    ('bn1', 'backbone.stem.bn'),
    ('layer#.#.conv1', 'backbone.layer#.#.conv1.conv'),
    ('layer#.#.bn1', 'backbone.layer#.#.conv1.bn'),
    ('layer#.#.conv2', 'backbone.layer#.#.conv2.conv'),
    ('layer#.#.bn2', 'backbone.layer#.#.conv2.bn'),
    ('layer#.#.conv3', 'backbone.layer#.#.conv3.conv'),
    ('layer#.#.bn3', 'backbone.layer#.#.conv3.bn'),
    ('layer#.#.downsample.0', 'backbone.layer#.#.downsample.conv'),
    ('layer#.#.downsample.1', 'backbone.layer#.#.downsample.bn'),
    ('layer#.#.att.conv_mask', 'backbone.layer#.#.attention.conv_mask'),
    ('layer#.#.att.channel_add_conv.#',
     'backbone.layer#.#.attention.channel_add_conv.#'),
    ('layer#.#.att.fc.#', 'backbone.layer#.#.attention.fc.#'),
    ('deconv_layers.0', 'head.deconv_layers.0.conv'),
    ('deconv_layers.1', 'head.deconv_layers.0.bn'),
    ('deconv_layers.3', 'head.deconv_layers.1.conv'),
    ('deconv_layers.4', 'head.deconv_layers.1.bn'),
    ('deconv_layers.6', 'head.deconv_layers.2.conv'),
    ('deconv_layers.7', 'head.deconv_layers.2.bn'),
    ('deconv_layers.9', 'head.deconv_layers.3.conv'),
    ('deconv_layers.10', 'head.deconv_layers.3.bn'),
    ('final_layer', 'head.final_layer'),
)
LEAF_NAMES = ('weight', 'bias', 'running_mean', 'running_var',
              'num_batches_tracked')
#: A module inside a bottleneck's attention, and which attention has it.
ATTENTION_OF = {'conv_mask': 'GC', 'fc': 'SE'}


def _unwrap(checkpoint: Mapping[str, Any]) -> Dict[str, Any]:
    """Return a checkpoint's state dict, its keys without ``module.``."""
    state_dict = checkpoint.get('state_dict', checkpoint)
    return {
        re.sub(r'^module\.', '', key): value
        for key, value in state_dict.items()
    }


def _rename(checkpoint: Mapping[str, Any], names: Sequence[Tuple[str, str]],
            layout: str) -> Dict[str, Any]:
    """Rename all keys from each pair's first name to its second."""
    state_dict = _unwrap(checkpoint)
    leaf = '|'.join(LEAF_NAMES)
    rules = [(re.compile(
        re.escape(old).replace(r'\#', r'(\d+)') + rf'\.({leaf})'),
              new.replace('#', '{}') + '.{}') for old, new in names]
    renamed, unknown = {}, []
    for key, value in state_dict.items():
        matches = ((rule.fullmatch(key), new) for rule, new in rules)
        match, new = next((m for m in matches if m[0]), (None, None))
        if match:
            renamed[new.format(*match.groups())] = value
        else:
            unknown.append(key)
    if unknown:
        raise ValueError(
            f'{len(unknown)} of {len(state_dict)} keys are not those of '
            f'{layout}: {", ".join(map(repr, unknown))}')
    return renamed


def from_release(checkpoint: Mapping[str, Any]) -> Dict[str, Any]:
    """Rename the keys of the release's weights to ours.

    Args:
        checkpoint (Mapping): The release's state dict, or a checkpoint that
            holds one as ``state_dict``; with or without ``module.`` before
            each key.

    Returns:
        dict: The same tensors under the keys of a ``TopdownPoseEstimator``
        made of :class:`LPN` and :class:`LPNHead`.

    Raises:
        ValueError: If a key is not one of the release's, naming it.

    Example:
        >>> from lpn_mmpose.models.official import from_release, to_release
        >>> from_release({'module.layer1.0.bn3.weight': 1})
        {'backbone.layer1.0.conv3.bn.weight': 1}
        >>> to_release({'head.deconv_layers.3.conv.weight': 2})
        {'deconv_layers.9.weight': 2}
    """
    return _rename(checkpoint, MODULE_NAMES, "LPN's release")


def to_release(checkpoint: Mapping[str, Any]) -> Dict[str, Any]:
    """Rename the keys of our weights to the release's.

    The inverse of :func:`from_release`.

    Args:
        checkpoint (Mapping): The state dict of a ``TopdownPoseEstimator``
            made of :class:`LPN` and :class:`LPNHead`, or a checkpoint that
            holds one as ``state_dict``.

    Returns:
        dict: The same tensors under the release's keys.

    Raises:
        ValueError: If a key is not one of such a model's, naming it.
    """
    return _rename(checkpoint, [(new, old) for old, new in MODULE_NAMES],
                   'LPN with LPNHead')


def infer_architecture(state_dict: Mapping[str, Any]) -> Dict[str, Any]:
    """Tell which LPN some weights belong to.

    Args:
        state_dict (Mapping): Weights under our keys, as of
            :func:`from_release`.

    Returns:
        dict: ``depth`` (50, 101 or 152) and ``attention`` (``'GC'``,
        ``'SE'`` or None), as :class:`LPN` takes them, and ``out_channels``,
        the number of keypoints K, as :class:`LPNHead` takes it.

    Raises:
        ValueError: If the blocks are those of no LPN, or the final layer is
            not there.

    Example:
        >>> from lpn_mmpose.models import LPN, LPNHead
        >>> from lpn_mmpose.models.official import infer_architecture
        >>> backbone, head = LPN(101, attention='SE'), LPNHead(512, 14)
        >>> infer_architecture({
        ...     **backbone.state_dict(prefix='backbone.'),
        ...     **head.state_dict(prefix='head.')})
        {'depth': 101, 'attention': 'SE', 'out_channels': 14}
    """
    matches = (re.match(r'backbone\.(layer\d+)\.(\d+)\.', key)
               for key in state_dict)
    blocks = {match.groups() for match in matches if match}
    layers = sorted({layer for layer, _ in blocks})
    counts = tuple(
        sum(layer == name for name, _ in blocks) for layer in layers)
    depths = {numbers: depth for depth, numbers in LPN.stage_blocks.items()}
    if counts not in depths:
        raise ValueError(f'the weights have {counts} blocks in their layers, '
                         f'LPN has one of {LPN.stage_blocks}')
    attentions = {
        attention
        for name, attention in ATTENTION_OF.items()
        if any(f'.attention.{name}.' in key for key in state_dict)
    }
    if len(attentions) > 1:
        raise ValueError('the weights have the attention of more than one '
                         f'LPN: {sorted(attentions)}')
    if 'head.final_layer.weight' not in state_dict:
        raise ValueError("the weights have no 'head.final_layer.weight'")
    return dict(
        depth=depths[counts],
        attention=next(iter(attentions), None),
        out_channels=state_dict['head.final_layer.weight'].shape[0])
