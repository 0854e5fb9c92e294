"""Comparison of an exported file with the trained model in PyTorch."""

import numpy as np
import torch
from mmpose.models.utils.tta import flip_heatmaps
from mmpose.structures import PoseDataSample
from torch import nn

from ..errors import InputError
from ..runtime import topdown
from ..runtime.model_meta import DetectionMeta, ModelMeta, PoseMeta

#: Largest difference from PyTorch, as a share of the outputs' range. int8 is
#: judged by keypoints (docs/performance.md), not by this.
TOLERANCE = {'fp32': 1e-3, 'fp16': 2e-2}


#: Images that exports are compared on where the batch is dynamic.
CHECK_BATCH = 2


@torch.no_grad()
def reference(model: nn.Module, meta: ModelMeta, images: np.ndarray) -> list[np.ndarray]:
    """Compute the trained model's heatmaps, or boxes and scores.

    Args:
        model (nn.Module): From :func:`~lpn_mmpose.deploy.export.load_model`.
        meta (ModelMeta): What the file says.
        images (np.ndarray): uint8 in shape (N, h, w, 3), BGR.
    """
    inputs = [torch.from_numpy(i.transpose(2, 0, 1).copy()) for i in images]
    sample = PoseDataSample(metainfo=dict(img_shape=images.shape[1:3], scale_factor=(1.0, 1.0)))
    data = model.data_preprocessor(dict(inputs=inputs, data_samples=[sample] * len(images)), False)
    x = data['inputs']
    if isinstance(meta, DetectionMeta):
        return _detector_reference(model, meta, x)
    heatmaps = model(x, None, mode='tensor')
    if meta.flip:
        mirrored = model(x.flip(-1), None, mode='tensor')
        heatmaps = (
            heatmaps
            + flip_heatmaps(
                mirrored,
                flip_indices=list(meta.flip_indices),
                shift_heatmap=model.test_cfg.get('shift_heatmap', False),
            )
        ) * 0.5
    return [heatmaps.numpy()]


def decoded(model: nn.Module, meta: PoseMeta, heatmaps: np.ndarray) -> np.ndarray:
    """Decode heatmaps (N, K, H, W) in NumPy to keypoints (N, K, 2)."""
    coords, _ = topdown.soft_argmax(heatmaps, meta.beta)
    if meta.quarter_offset:
        coords = topdown.quarter_offset(coords, heatmaps)
    return coords * model.head.decoder.scale_factor


def _detector_reference(model: nn.Module, meta: DetectionMeta, x: torch.Tensor) -> list[np.ndarray]:
    """All candidates of MMDet's own post-processing, level by level."""
    label = list(model.dataset_meta['classes']).index('person')
    maps, distances = model(x, None, mode='tensor')
    priors = model.bbox_head.prior_generator.grid_priors(
        [m.shape[-2:] for m in maps], device='cpu', with_stride=False
    )
    boxes, scores = [], []
    for points, level, distance in zip(priors, maps, distances):
        distance = distance.permute(0, 2, 3, 1).reshape(len(x), -1, 4)
        boxes.append(model.bbox_head.bbox_coder.decode(points.expand(len(x), -1, -1), distance))
        scores.append(level[:, label].sigmoid().reshape(len(x), -1))
    return [torch.cat(boxes, 1).numpy(), torch.cat(scores, 1).numpy()]


def check_images(meta: ModelMeta, batch: int) -> np.ndarray:
    """Return uint8 images (N, h, w, 3): waves of many lengths, and noise."""
    width, height = meta.input_size
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    images = []
    for _ in range(batch):
        waves = sum(
            np.sin((a * x + b * y)[..., None] + c)
            for a, b, c in zip(*rng.uniform(-0.3, 0.3, (2, 6)), rng.uniform(0, 6, (6, 3)))
        )
        images.append(128 + 25 * waves + rng.normal(0, 20, waves.shape))
    return np.clip(images, 0, 255).astype(np.uint8)


def check(
    outputs: list[np.ndarray], expected: list[np.ndarray], meta: ModelMeta
) -> tuple[float, float]:
    """Compare an export with PyTorch.

    Args:
        outputs (list[np.ndarray]): Of the exported file.
        expected (list[np.ndarray]): From :func:`reference`.
        meta (ModelMeta): What the file says.

    Returns:
        tuple[float, float]: Largest absolute difference of the first output,
        and the range of its expected values.

    Raises:
        InputError: If they differ by more than the precision explains.
    """
    difference = float(np.abs(outputs[0] - expected[0]).max())
    spread = float(np.ptp(expected[0]))
    tolerance = TOLERANCE.get(meta.precision)
    if tolerance and not difference <= tolerance * spread:
        raise InputError(
            f'the exported {meta.outputs} differ by {difference:.2e} from '
            f"PyTorch's, whose range is {spread:.3g}: nothing was written. "
            'Please report the config; another --format may serve meanwhile'
        )
    return difference, spread


def check_keypoints(keypoints: np.ndarray, expected: np.ndarray) -> None:
    """Compare decoding in the graph with decoding in NumPy.

    Args:
        keypoints (np.ndarray): (N, K, 2), of the exported file.
        expected (np.ndarray): Likewise, from :func:`decoded`.

    Raises:
        InputError: If more than 5 % are farther apart than half a pixel;
            where two neighbours are level, rounding decides the offset.
    """
    far = np.linalg.norm(keypoints - expected, axis=-1) > 0.5
    if far.mean() > 0.05:
        raise InputError(
            f'{far.sum()} of {far.size} keypoints decoded in the graph are '
            'not where they should be: nothing was written. Please report '
            'the config; leave out --decode meanwhile'
        )
