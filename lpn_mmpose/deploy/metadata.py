"""What an exported file says about itself, collected from its model."""

from pathlib import Path

import numpy as np
from torch import nn

from ..errors import InputError
from ..runtime.model_meta import DetectionMeta, PoseMeta
from ..utils.config import input_size, test_pipeline
from ..version import __version__
from .graphs import channel_statistics


def _ints(array) -> tuple:
    """Turn an array of integers into nested tuples."""
    array = np.asarray(array)
    return tuple(map(_ints, array)) if array.ndim > 1 else tuple(map(int, array))


def pose_meta(model: nn.Module, flip: bool, decode: bool, precision: str) -> PoseMeta:
    """Collect what a pose estimator's file says.

    Args:
        model (TopdownPoseEstimator): From :func:`load_model`.
        flip (bool): Whether the graph averages with the mirrored image.
        decode (bool): Whether the graph decodes.
        precision (str): One of :data:`PRECISIONS`.

    Raises:
        InputError: If the runtime could not decode the model's heatmaps.
    """
    cfg = model.cfg
    codec = dict(cfg.model.head.get('decoder') or {})
    kind = codec.get('type')
    if kind not in ('BetaSoftArgmaxHeatmap', 'MSRAHeatmap') or codec.get('unbiased'):
        raise InputError(
            f'config {cfg.filename} decodes by {kind or "no codec"}'
            f'{" (unbiased)" if codec.get("unbiased") else ""}; exported are '
            'models with BetaSoftArgmaxHeatmap or a biased MSRAHeatmap'
        )
    soft = kind == 'BetaSoftArgmaxHeatmap'
    if decode and not soft:
        raise InputError(
            f'--decode is for BetaSoftArgmaxHeatmap, and config '
            f'{cfg.filename} has {kind}: leave it out'
        )
    decoder = model.head.decoder
    meta = model.dataset_meta
    padding = 1.25
    for step in test_pipeline(cfg):
        if step['type'] == 'GetBBoxCenterScale':
            padding = step.get('padding', padding)
    names = [meta['keypoint_id2name'][i] for i in range(meta['num_keypoints'])]
    return PoseMeta(
        **_common_meta(model, meta['dataset_name'], precision),
        outputs='keypoints' if decode else 'heatmaps',
        heatmap_size=tuple(codec['heatmap_size']),
        codec=kind,
        sigma=codec['sigma'],
        beta=float(decoder.beta) if soft else None,
        quarter_offset=decoder.quarter_offset if soft else True,
        flip=flip,
        bbox_padding=padding,
        keypoint_names=tuple(names),
        flip_indices=_ints(meta['flip_indices']),
        sigmas=tuple(round(float(s), 6) for s in meta['sigmas']),
        skeleton=_ints(meta['skeleton_links']),
        keypoint_colors=_ints(meta['keypoint_colors']),
        skeleton_colors=_ints(meta['skeleton_link_colors']),
    )


def detection_meta(model: nn.Module, precision: str) -> DetectionMeta:
    """Collect what a detector's file says.

    Args:
        model (RTMDet): From :func:`load_model`.
        precision (str): One of :data:`PRECISIONS`.

    Raises:
        InputError: If it is no RTMDet or does not know persons.
    """
    cfg = model.cfg
    if cfg.model.type != 'RTMDet':
        raise InputError(
            f'config {cfg.filename} is of {cfg.model.type}; detectors are exported from RTMDet'
        )
    classes = model.dataset_meta['classes']
    if 'person' not in classes:
        raise InputError(f'config {cfg.filename} detects {", ".join(classes[:5])} and no person')
    pad_value = next((step['pad_val'] for step in test_pipeline(cfg) if step['type'] == 'Pad'), 114)
    if isinstance(pad_value, dict):
        pad_value = pad_value['img']
    test_cfg = cfg.model.test_cfg
    return DetectionMeta(
        **_common_meta(model, cfg.get('dataset_type', ''), precision),
        pad_value=int(np.ravel(pad_value)[0]),
        score_thr=test_cfg.score_thr,
        iou_thr=test_cfg.nms.iou_threshold,
        max_per_img=test_cfg.max_per_img,
    )


def _common_meta(model: nn.Module, dataset: str, precision: str) -> dict:
    mean, std, swap = channel_statistics(model.data_preprocessor)
    if swap:
        mean, std = mean.flip(0), std.flip(0)
    return dict(
        input_size=input_size(model.cfg),
        mean=tuple(round(float(v), 4) for v in mean),
        std=tuple(round(float(v), 4) for v in std),
        dataset=dataset,
        version=__version__,
        precision=precision,
        name=Path(model.cfg.filename or '').stem,
    )
