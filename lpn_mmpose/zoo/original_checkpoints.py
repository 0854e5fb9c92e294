"""State dicts of original code, and how their keys map to MMPose's.

Of LPN's original code, and of HRNet's code, on which that builds: ``lpn_*``,
``pose_resnet_*`` (SimpleBaseline) and ``pose_hrnet_*``. There a model is one
module; here it is a ``TopdownPoseEstimator`` with a ``backbone``
(:class:`LPN`, ``ResNet``, ``HRNet``) and a ``head`` (:class:`LPNHead`,
``HeatmapHead``). The tensors are the same.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mmpose.models.backbones import ResNet

from ..models import LPN

LEAF_NAMES = ('weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked')


@dataclass(frozen=True)
class Family:
    """Models whose keys map in the same way.

    Attributes:
        title (str): What the original is called in messages.
        names (tuple[tuple[str, str]]): Module names there and here; ``#``
            stands for a number, the same in both.
    """

    title: str
    names: tuple[tuple[str, str], ...]


FAMILIES: dict[str, Family] = {
    'lpn': Family(
        "LPN's original code",
        (
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
            ('layer#.#.att.channel_add_conv.#', 'backbone.layer#.#.attention.channel_add_conv.#'),
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
        ),
    ),
    'pose_resnet': Family(
        'pose_resnet',
        (
            ('conv1', 'backbone.conv1'),
            ('bn1', 'backbone.bn1'),
            ('layer#.#.conv#', 'backbone.layer#.#.conv#'),
            ('layer#.#.bn#', 'backbone.layer#.#.bn#'),
            ('layer#.#.downsample.#', 'backbone.layer#.#.downsample.#'),
            ('deconv_layers.#', 'head.deconv_layers.#'),
            ('final_layer', 'head.final_layer'),
        ),
    ),
    'pose_hrnet': Family(
        'pose_hrnet',
        (
            ('conv#', 'backbone.conv#'),
            ('bn#', 'backbone.bn#'),
            ('layer1.#.conv#', 'backbone.layer1.#.conv#'),
            ('layer1.#.bn#', 'backbone.layer1.#.bn#'),
            ('layer1.#.downsample.#', 'backbone.layer1.#.downsample.#'),
            ('transition#.#.#', 'backbone.transition#.#.#'),
            ('transition#.#.#.#', 'backbone.transition#.#.#.#'),
            ('stage#.#.branches.#.#.conv#', 'backbone.stage#.#.branches.#.#.conv#'),
            ('stage#.#.branches.#.#.bn#', 'backbone.stage#.#.branches.#.#.bn#'),
            ('stage#.#.fuse_layers.#.#.#', 'backbone.stage#.#.fuse_layers.#.#.#'),
            ('stage#.#.fuse_layers.#.#.#.#', 'backbone.stage#.#.fuse_layers.#.#.#.#'),
            ('final_layer', 'head.final_layer'),
        ),
    ),
}
#: A module inside a bottleneck's attention, and which attention has it.
ATTENTION_OF = {'conv_mask': 'GC', 'fc': 'SE'}
#: Weights that tell how wide an HRNet is, there and here.
HRNET_WIDTH = 'stage2.0.branches.0.0.conv1.weight'


def unwrap(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """Return a checkpoint's state dict, its keys without ``module.``.

    Args:
        checkpoint (Mapping): A state dict, or a checkpoint that holds one as
            ``state_dict``.
    """
    state_dict = checkpoint.get('state_dict', checkpoint)
    return {re.sub(r'^module\.', '', key): value for key, value in state_dict.items()}


def find_family(checkpoint: Mapping[str, Any]) -> str:
    """Tell which family some weights belong to, by keys and shapes.

    Args:
        checkpoint (Mapping): An original state dict or one of ours, or a
            checkpoint that holds one as ``state_dict``.

    Returns:
        str: A key of :data:`FAMILIES`.

    Raises:
        ValueError: If it is none of them.
    """
    state_dict = {
        re.sub(r'^backbone\.', '', key): value for key, value in unwrap(checkpoint).items()
    }
    if HRNET_WIDTH in state_dict:
        return 'pose_hrnet'
    if 'layer1.0.conv2.conv.weight' in state_dict:
        return 'lpn'
    middle = state_dict.get('layer1.0.conv2.weight')
    if middle is None:
        raise ValueError(
            'the weights are of none of '
            + ', '.join(f'{name}_*' for name in FAMILIES)
            + ': there is no layer1.0.conv2.weight in them'
        )
    # LPN's 3x3 convolutions are depthwise
    return 'lpn' if middle.shape[1] == 1 else 'pose_resnet'


def _rename(checkpoint: Mapping[str, Any], family: str, inverse: bool) -> dict[str, Any]:
    """Rename all keys by the names of a family."""
    state_dict = unwrap(checkpoint)
    leaf = '|'.join(LEAF_NAMES)
    rules = [
        (
            re.compile(re.escape(old).replace(r'\#', r'(\d+)') + rf'\.({leaf})'),
            new.replace('#', '{}') + '.{}',
        )
        for old, new in (names[::-1] if inverse else names for names in FAMILIES[family].names)
    ]
    renamed, unknown = {}, []
    for key, value in state_dict.items():
        matches = ((rule.fullmatch(key), new) for rule, new in rules)
        match, new = next((m for m in matches if m[0]), (None, None))
        if match:
            renamed[new.format(*match.groups())] = value
        else:
            unknown.append(key)
    if unknown:
        layout = FAMILIES[family].title
        raise ValueError(
            f'{len(unknown)} of {len(state_dict)} keys are not those of '
            f'{layout + " in MMPose" if inverse else layout}: '
            f'{", ".join(map(repr, unknown))}'
        )
    return renamed


def from_original(checkpoint: Mapping[str, Any], family: str = 'lpn') -> dict[str, Any]:
    """Rename the keys of original weights to ours.

    Args:
        checkpoint (Mapping): The original's state dict, or a checkpoint that
            holds one as ``state_dict``; with or without ``module.`` before
            each key.
        family (str): A key of :data:`FAMILIES`. Default: ``'lpn'``.

    Returns:
        dict: The same tensors under the keys of a ``TopdownPoseEstimator``.

    Raises:
        ValueError: If a key is not one of the original's, naming it.

    Example:
        >>> from lpn_mmpose.zoo.original_checkpoints import from_original, to_original
        >>> from_original({'module.layer1.0.bn3.weight': 1})
        {'backbone.layer1.0.conv3.bn.weight': 1}
        >>> to_original({'head.deconv_layers.3.conv.weight': 2})
        {'deconv_layers.9.weight': 2}
    """
    return _rename(checkpoint, family, inverse=False)


def to_original(checkpoint: Mapping[str, Any], family: str = 'lpn') -> dict[str, Any]:
    """Rename the keys of our weights to the original's.

    The inverse of :func:`from_original`.

    Args:
        checkpoint (Mapping): The state dict of a ``TopdownPoseEstimator``, or
            a checkpoint that holds one as ``state_dict``.
        family (str): A key of :data:`FAMILIES`. Default: ``'lpn'``.

    Returns:
        dict: The same tensors under the original's keys.

    Raises:
        ValueError: If a key is not one of such a model's, naming it.
    """
    return _rename(checkpoint, family, inverse=True)


def infer_architecture(state_dict: Mapping[str, Any], family: str = 'lpn') -> dict[str, Any]:
    """Tell which model some weights belong to.

    Args:
        state_dict (Mapping): Weights under our keys, as of
            :func:`from_original`.
        family (str): A key of :data:`FAMILIES`. Default: ``'lpn'``.

    Returns:
        dict: ``method``, its name in the published tables: ``'lpn_50'``,
        ``'pose_resnet_101'``, ``'pose_hrnet_w32'``, ...; ``out_channels``, the
        number of keypoints K; for LPN also ``attention`` (``'GC'``, ``'SE'``
        or None), as :class:`LPN` takes it.

    Raises:
        ValueError: If the blocks are those of no such model, or the final
            layer is not there.

    Example:
        >>> from lpn_mmpose.models import LPN, LPNHead
        >>> from lpn_mmpose.zoo.original_checkpoints import infer_architecture
        >>> backbone, head = LPN(101, attention='SE'), LPNHead(512, 14)
        >>> infer_architecture({
        ...     **backbone.state_dict(prefix='backbone.'),
        ...     **head.state_dict(prefix='head.')})
        {'method': 'lpn_101', 'out_channels': 14, 'attention': 'SE'}
    """
    if 'head.final_layer.weight' not in state_dict:
        raise ValueError("the weights have no 'head.final_layer.weight'")
    out_channels = state_dict['head.final_layer.weight'].shape[0]
    if family == 'pose_hrnet':
        width = state_dict[f'backbone.{HRNET_WIDTH}'].shape[0]
        return dict(method=f'pose_hrnet_w{width}', out_channels=out_channels)
    depth = _infer_depth(state_dict, family)
    architecture = dict(method=f'{family}_{depth}', out_channels=out_channels)
    if family == 'lpn':
        architecture['attention'] = _infer_attention(state_dict)
    return architecture


def _infer_depth(state_dict: Mapping[str, Any], family: str) -> int:
    """Tell the depth by the number of blocks in each layer."""
    if family == 'lpn':
        stage_blocks = LPN.stage_blocks
    else:  # those with bottlenecks, which alone are published
        stage_blocks = {depth: ResNet.arch_settings[depth][1] for depth in (50, 101, 152)}
    matches = (re.match(r'backbone\.(layer\d+)\.(\d+)\.', key) for key in state_dict)
    blocks = {match.groups() for match in matches if match}
    layers = sorted({layer for layer, _ in blocks})
    counts = tuple(sum(layer == name for name, _ in blocks) for layer in layers)
    for depth, numbers in stage_blocks.items():
        if counts == tuple(numbers):
            return depth
    raise ValueError(
        f'the weights have {counts} blocks in their layers, {family} has one of {stage_blocks}'
    )


def _infer_attention(state_dict: Mapping[str, Any]) -> Any:
    """Tell LPN's attention by the names of its modules."""
    attentions = {
        attention
        for name, attention in ATTENTION_OF.items()
        if any(f'.attention.{name}.' in key for key in state_dict)
    }
    if len(attentions) > 1:
        raise ValueError(
            f'the weights have the attention of more than one LPN: {sorted(attentions)}'
        )
    return next(iter(attentions), None)
