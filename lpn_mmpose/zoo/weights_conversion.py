"""Weights conversion: original checkpoints to MMEngine's, and back."""

from pathlib import Path
from typing import Any, NamedTuple

import mmengine
import torch
from mmengine.config import Config
from mmpose.apis.inference import dataset_meta_from_config

from ..errors import InputError
from ..utils.checkpoint import compare_keys, load_checkpoint
from ..utils.config import load_config, register_modules
from . import original_checkpoints
from .published import published_rows

#: What the originals were trained on, by their number of keypoints.
DATASET_OF = {16: 'MPII', 17: 'COCO'}


def published_config(architecture: dict[str, Any], any_dataset: bool = False) -> Config | None:
    """Find the config of a published model.

    Args:
        architecture (dict): From
            :func:`lpn_mmpose.zoo.original_checkpoints.infer_architecture`.
        any_dataset (bool): Take one for another dataset, if need be. Default:
            False.

    Returns:
        Config, optional: The config, with attention and number of keypoints
        as given. None if there is none.
    """
    rows = [
        row
        for row in published_rows()
        if row.method == architecture['method']
        and (any_dataset or row.dataset == DATASET_OF.get(architecture['out_channels']))
    ]
    if not rows:
        return None
    cfg = load_config(rows[0].config_path)
    cfg.model.head.out_channels = architecture['out_channels']
    if 'attention' in architecture:
        cfg.model.backbone.attention = architecture['attention']
    return cfg


def check_keys(state_dict: dict[str, Any], cfg: Config, src: str) -> None:
    """Check that weights and a config's model have the very same keys.

    Args:
        state_dict (dict): Weights under our keys.
        cfg (Config): The config.
        src (str): Where the weights come from, for the message.

    Raises:
        InputError: If they have not, naming all those that differ.
    """
    mismatch = compare_keys(state_dict, cfg)
    problems = [
        f'{len(keys)} {what}: {", ".join(keys)}'
        for what, keys in (
            ('unused', mismatch.unexpected),
            ('of another shape', mismatch.misshapen),
            ('missing', mismatch.missing),
        )
        if keys
    ]
    if problems:
        raise InputError(f'{src} does not fit {cfg.filename}; keys ' + '; '.join(problems))


def dataset_meta(cfg: Config) -> dict:
    """Return what an MMEngine checkpoint says of the data it was trained on.

    Keypoint names, flip pairs, skeleton and so on, and the only class.

    Args:
        cfg (Config): The config.
    """
    register_modules(cfg)
    meta = dataset_meta_from_config(cfg, dataset_mode='test')
    # as the annotation file of COCO names it
    meta['CLASSES'] = [dict(supercategory='person', id=1, name='person')]
    return meta


class _Weights(NamedTuple):
    """Weights in both formats, and the model they fit."""

    ours: dict[str, torch.Tensor]
    original: dict[str, torch.Tensor]
    cfg: Config
    description: str


def _read(src: str, config: str | None, inverse: bool) -> _Weights:
    """Read weights of either format and check them against their config."""
    checkpoint = load_checkpoint(src)
    state_dict = original_checkpoints.unwrap(checkpoint)
    for key, value in state_dict.items():
        if not isinstance(value, torch.Tensor):
            raise InputError(
                f'{src} is no checkpoint that we know: {key!r} '
                f'is not a tensor but {type(value).__name__}'
            )
    if inverse != any(key.startswith('backbone.') for key in state_dict):
        raise InputError(
            f"{src} has the original's keys already; leave out --inverse"
            if inverse
            else f"{src} has MMPose's keys already; --inverse writes the original's"
        )
    try:
        family = original_checkpoints.find_family(state_dict)
        rename = original_checkpoints.to_original if inverse else original_checkpoints.from_original
        renamed = rename(state_dict, family)
        ours, original = (state_dict, renamed) if inverse else (renamed, state_dict)
        architecture = original_checkpoints.infer_architecture(ours, family)
    except ValueError as error:
        raise InputError(f'{src}: {error}') from None
    description = '{method}, {out_channels} keypoints'.format(**architecture)
    if 'attention' in architecture:
        description += f', attention {architecture["attention"]}'
    cfg = load_config(config) if config else published_config(architecture, any_dataset=inverse)
    if cfg is None:
        raise InputError(
            f'{src} ({description}) is none of the published models; give its config with --config'
        )
    check_keys(ours, cfg, src)
    return _Weights(ours, original, cfg, description)


def _save(checkpoint: dict, dst: str) -> None:
    """Save to a file whose folder may not be there yet."""
    Path(dst).parent.mkdir(parents=True, exist_ok=True)
    torch.save(checkpoint, dst)


def convert(src: str, dst: str, config: str | None = None) -> str:
    """Convert an original checkpoint to MMEngine's format.

    Args:
        src (str): File of LPN's original code (``lpn_*``) or of HRNet's code
            (``pose_resnet_*``, ``pose_hrnet_*``): a state dict, with or
            without ``module.`` before its keys, or a training checkpoint
            that holds one.
        dst (str): File to write.
        config (str, optional): Config of the model. Default: that of the
            published table, found by the weights.

    Returns:
        str: What was found in ``src``, in a line.

    Raises:
        InputError: If ``src`` cannot be read or a key of it is not used, or
            the model needs one that is not there.
    """
    weights = _read(src, config, inverse=False)
    meta = dict(
        cfg=weights.cfg.pretty_text,
        dataset_meta=dataset_meta(weights.cfg),
        mmengine_version=mmengine.__version__,
        converted_from=Path(src).name,
    )
    _save(dict(state_dict=weights.ours, meta=meta), dst)
    return f'{weights.description}, {len(weights.ours)} tensors, for {weights.cfg.filename}'


def convert_back(src: str, dst: str, config: str | None = None) -> str:
    """Write the weights of an MMEngine checkpoint in the original's format.

    A bare state dict under the original's keys; the tensors stay as they are,
    bit by bit.

    Args:
        src (str): MMEngine checkpoint of LPN, or of SimpleBaseline or HRNet
            as in our configs.
        dst (str): File to write.
        config (str, optional): Config of the model. Default: that of the
            published table, found by the weights, with their number of
            keypoints.

    Returns:
        str: What was found in ``src``, in a line.

    Raises:
        InputError: If ``src`` cannot be read or its keys are not those of the
            model.
    """
    weights = _read(src, config, inverse=True)
    _save(weights.original, dst)
    return f'{weights.description}, {len(weights.original)} tensors'
