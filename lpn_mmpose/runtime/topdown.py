"""Top-down arithmetic on arrays: person boxes to crops, heatmaps to joints.

Needs NumPy and OpenCV alone, so that training code and runtimes without
PyTorch share it. Pixel centres have integer coordinates, (x, y) in that
order; sizes are (w, h). Symbols: N persons, K keypoints, heatmap size (W, H).
A person's center and scale are a point and a size (w, h) in image pixels.

Example:
    >>> import numpy as np
    >>> from lpn_mmpose.runtime import topdown
    >>> image = np.zeros((480, 640, 3), np.uint8)
    >>> center, scale = topdown.boxes_to_center_scale(
    ...     np.array([[100, 60, 190, 240]]), input_size=(192, 256))
    >>> center.tolist(), scale.tolist()
    ([[145.0, 150.0]], [[168.75, 225.0]])
    >>> topdown.crop(image, center, scale, input_size=(192, 256)).shape
    (1, 256, 192, 3)
    >>> heatmaps = np.zeros((1, 17, 64, 48), np.float32)
    >>> heatmaps[..., 32, 24] = 1
    >>> coords, scores = topdown.soft_argmax(heatmaps)
    >>> coords = topdown.quarter_offset(coords, heatmaps)
    >>> keypoints = topdown.to_image(coords, center, scale, (48, 64))
    >>> keypoints.shape, keypoints[0, 0].tolist(), float(scores[0, 0])
    ((1, 17, 2), [145.0, 150.0], 1.0)
"""

import cv2
import numpy as np

#: Weights of the soft-argmax below exp(-NEGLIGIBLE) of the largest are zero.
NEGLIGIBLE = 25.0


def boxes_to_center_scale(
    boxes: np.ndarray, input_size: tuple[int, int], padding: float = 1.25
) -> tuple[np.ndarray, np.ndarray]:
    """Turn person boxes into crop centers and scales.

    The shorter side grows to the aspect ratio of ``input_size``, then both
    sides grow by ``padding``, as in `Simple Baselines`_ and in MMPose's
    ``GetBBoxCenterScale`` followed by ``TopdownAffine``.

    Args:
        boxes (np.ndarray): Boxes (x1, y1, x2, y2) in image pixels, in shape
            (..., 4).
        input_size (tuple): Size (w, h) of the network's input.
        padding (float): Factor on the box's sides. Default: 1.25.

    Returns:
        tuple:
        - center (np.ndarray): Crop centers (x, y), float32, in shape
          (..., 2).
        - scale (np.ndarray): Crop sizes (w, h) in image pixels, float32, in
          shape (..., 2).

    Raises:
        ValueError: If a box has no positive, finite width and height.

    .. _`Simple Baselines`: https://arxiv.org/abs/1804.06208
    """
    boxes = np.asarray(boxes, np.float32)
    size = boxes[..., 2:4] - boxes[..., :2]
    bad = ~((size > 0) & np.isfinite(size)).all(-1)
    if bad.any():
        raise ValueError(
            f'boxes must be (x1, y1, x2, y2) with x1 < x2 and y1 < y2, got {boxes[bad][0].tolist()}'
        )
    center = boxes[..., :2] + size / 2
    aspect_ratio = np.float32(input_size[0] / input_size[1])
    width = np.maximum(size[..., 0], size[..., 1] * aspect_ratio)
    scale = np.stack([width, width / aspect_ratio], axis=-1)
    return center, scale * np.float32(padding)


def keypoints_to_box(
    keypoints: np.ndarray, image_size: tuple[int, int], margin: float
) -> np.ndarray:
    """Return the box of a person of whom keypoints are known.

    Args:
        keypoints (np.ndarray): Keypoints (x, y) in image pixels, in shape
            (M, 2) with M >= 1.
        image_size (tuple): Size (w, h) of the image, to which the box is
            clipped.
        margin (float): Margin on every side, as a share of the longer side of
            the tight box: the joints' extent leaves out hands, feet and skin.

    Returns:
        np.ndarray: Box (x1, y1, x2, y2) in shape (4, ).
    """
    # no arrays: a call for each of a few numbers takes longer than the numbers
    spans = [(min(values), max(values)) for values in zip(*np.asarray(keypoints).tolist())]
    pad = margin * max(high - low for low, high in spans)
    low = [max(low - pad, 0) for low, _ in spans]
    high = [min(high + pad, size - 1) for (_, high), size in zip(spans, image_size)]
    return np.array(low + high)


def crop_matrix(center: np.ndarray, scale: np.ndarray, output_size: tuple[int, int]) -> np.ndarray:
    """Compute the affine matrices from the image to the crop.

    Equal to :func:`mmpose.structures.bbox.get_warp_matrix` without rotation.

    Args:
        center (np.ndarray): Crop centers (x, y) in shape (..., 2).
        scale (np.ndarray): Crop sizes (w, h) in shape (..., 2). Only w
            counts: the aspect ratio is that of ``output_size``.
        output_size (tuple): Size (w, h) of the crop in pixels.

    Returns:
        np.ndarray: Matrices, float64, in shape (..., 2, 3).
    """
    center = np.asarray(center, np.float64)
    zoom = output_size[0] / np.asarray(scale, np.float64)[..., 0]
    matrix = np.zeros(center.shape[:-1] + (2, 3))
    matrix[..., 0, 0] = matrix[..., 1, 1] = zoom
    matrix[..., 2] = np.divide(output_size, 2) - zoom[..., None] * center
    return matrix


def crop(
    image: np.ndarray,
    center: np.ndarray,
    scale: np.ndarray,
    input_size: tuple[int, int],
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Cut the persons out of an image, bilinearly; 0 outside the image.

    Args:
        image (np.ndarray): Image in shape (H, W) or (H, W, C).
        center (np.ndarray): Crop centers (x, y) in shape (N, 2).
        scale (np.ndarray): Crop sizes (w, h) in shape (N, 2).
        input_size (tuple): Size (w, h) of a crop in pixels.
        out (np.ndarray, optional): Contiguous array to write the crops into.

    Returns:
        np.ndarray: Crops of the image's dtype, in shape (N, h, w) or
        (N, h, w, C).
    """
    width, height = input_size
    matrices = crop_matrix(center, scale, input_size)
    if out is None:
        out = np.empty((len(matrices), height, width) + image.shape[2:], image.dtype)
    for matrix, dst in zip(matrices, out):
        cv2.warpAffine(image, matrix, (width, height), dst=dst, flags=cv2.INTER_LINEAR)
    return out


def swap_channels(images: np.ndarray) -> np.ndarray:
    """Turn BGR into RGB, or back: far faster than by a negative step in NumPy.

    Args:
        images (np.ndarray): One or more in shape (N, h, w, 3), contiguous.

    Returns:
        np.ndarray: A copy in the same shape.
    """
    rows = images.reshape(-1, *images.shape[2:])
    return cv2.cvtColor(rows, cv2.COLOR_BGR2RGB).reshape(images.shape)


def soft_argmax(heatmaps: np.ndarray, beta: float = 160.0) -> tuple[np.ndarray, np.ndarray]:
    r"""Locate keypoints by Beta-Soft-Argmax.

    .. math::
        (x, y) = \sum_{i,j} \frac{\exp(\beta h_{ji})}
        {\sum_{k,l} \exp(\beta h_{lk})} (i, j)

    as in `LPN`_. A larger :math:`\beta` weighs the maximum more.

    Args:
        heatmaps (np.ndarray): Heatmaps in shape (..., K, H, W).
        beta (float): :math:`\beta`. Default: 160, as in LPN's original code.

    Returns:
        tuple:
        - coords (np.ndarray): Coordinates (x, y) in heatmap pixels, float32,
          in shape (..., K, 2).
        - scores (np.ndarray): Heatmap values at the rounded coordinates,
          float32, in shape (..., K).

    Raises:
        ValueError: If the heatmaps hold NaN or infinity.

    .. _`LPN`: https://arxiv.org/abs/1911.10346
    """
    # in one piece, so that the flat views below are views
    heatmaps = np.ascontiguousarray(heatmaps, np.float32)
    *batch_shape, height, width = heatmaps.shape
    maps = heatmaps.reshape(-1, height, width)
    peaks = heatmaps.reshape(-1, height * width).max(axis=-1)
    # what is left out would shift the result by less than 1e-5 px, and takes
    # np.exp most of its time
    floor = peaks - np.float32(NEGLIGIBLE / beta)
    near = np.flatnonzero(maps >= floor[:, None, None])
    owner, pixel = np.divmod(near, height * width)
    y, x = np.divmod(pixel, width)
    weights = np.exp(np.float32(beta) * (maps.ravel()[near] - peaks[owner]))
    # no products of matrices: NumPy's BLAS threads would spin on after them,
    # on the core that the engine needs for the next image

    def sums(values: np.ndarray) -> np.ndarray:
        return np.bincount(owner, values, len(maps))

    with np.errstate(invalid='ignore'):
        coords = np.stack([sums(weights * x), sums(weights * y)], axis=-1)
        coords = (coords / sums(weights)[:, None]).astype(np.float32)
    if not np.isfinite(coords).all():
        raise ValueError('heatmaps hold NaN or infinity')
    x, y = np.rint(coords).astype(np.intp).T
    scores = maps[np.arange(len(maps)), y, x]
    return coords.reshape(*batch_shape, 2), scores.reshape(batch_shape)


def argmax(heatmaps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Locate keypoints by the heatmaps' maxima, as in `Simple Baselines`_.

    Args:
        heatmaps (np.ndarray): Heatmaps in shape (..., K, H, W).

    Returns:
        tuple:
        - coords (np.ndarray): Coordinates (x, y) in heatmap pixels, float32,
          in shape (..., K, 2); (0, 0) where no value is positive.
        - scores (np.ndarray): Maxima, float32, in shape (..., K).

    .. _`Simple Baselines`: https://arxiv.org/abs/1804.06208
    """
    heatmaps = np.asarray(heatmaps, np.float32)
    *batch_shape, height, width = heatmaps.shape
    flat = heatmaps.reshape(*batch_shape, height * width)
    scores = flat.max(axis=-1)
    row, column = np.divmod(flat.argmax(axis=-1), width)
    coords = np.stack([column, row], axis=-1) * (scores > 0)[..., None]
    return coords.astype(np.float32), scores


def quarter_offset(coords: np.ndarray, heatmaps: np.ndarray) -> np.ndarray:
    """Shift keypoints by a quarter pixel towards the higher neighbour.

    The refinement of `Simple Baselines`_ and of LPN's original code: the
    neighbours are those of the nearest pixel, and keypoints whose nearest
    pixel has x not in (1, W - 1) or y not in (1, H - 1) stay.

    Args:
        coords (np.ndarray): Coordinates (x, y) in heatmap pixels, in shape
            (..., K, 2).
        heatmaps (np.ndarray): Heatmaps in shape (..., K, H, W).

    Returns:
        np.ndarray: Shifted coordinates, in the shape of ``coords``.

    .. _`Simple Baselines`: https://arxiv.org/abs/1804.06208
    """
    height, width = heatmaps.shape[-2:]
    maps = heatmaps.reshape(-1, height, width)
    shifted = coords.reshape(-1, 2).copy()
    x, y = np.floor(shifted + 0.5).astype(np.intp).T
    inside = (x > 1) & (x < width - 1) & (y > 1) & (y < height - 1)
    n, x, y = np.flatnonzero(inside), x[inside], y[inside]
    shifted[n, 0] += 0.25 * np.sign(maps[n, y, x + 1] - maps[n, y, x - 1])
    shifted[n, 1] += 0.25 * np.sign(maps[n, y + 1, x] - maps[n, y - 1, x])
    return shifted.reshape(coords.shape)


def to_image(
    coords: np.ndarray, center: np.ndarray, scale: np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    """Map coordinates in crops or heatmaps to the image.

    Args:
        coords (np.ndarray): Coordinates (x, y) in shape (..., K, 2).
        center (np.ndarray): Crop centers (x, y) in shape (..., 2).
        scale (np.ndarray): Crop sizes (w, h) in image pixels, in shape
            (..., 2).
        size (tuple): Size (w, h) of the crops or heatmaps in their pixels.

    Returns:
        np.ndarray: Coordinates (x, y) in image pixels, in shape (..., K, 2).
    """
    center, scale = np.asarray(center), np.asarray(scale)
    origin = center - scale / 2
    step = scale / np.asarray(size, scale.dtype)
    return coords * step[..., None, :] + origin[..., None, :]
