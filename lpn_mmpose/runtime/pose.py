"""Keypoints of all persons of an image, from an exported pose model."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from itertools import groupby
from pathlib import Path

import numpy as np

from . import topdown
from .engines import load_engine
from .layouts import to_layout
from .media import Image, as_image
from .model_meta import PoseMeta

#: Name of the model that is used if none is given.
DEFAULT_MODEL = 'lpn50_body19-192x144'

Keypoints = tuple[np.ndarray, np.ndarray]


def whole_image(image: np.ndarray) -> np.ndarray:
    """Return the box (1, 4) of all of the image."""
    height, width = image.shape[:2]
    return np.array([[0, 0, width, height]], np.float32)


def _as_boxes(bboxes: np.ndarray) -> np.ndarray:
    boxes = np.asarray(bboxes, np.float32)
    if boxes.size and (boxes.ndim != 2 or boxes.shape[1] != 4):
        raise ValueError(f'bboxes must be in shape (N, 4), got {boxes.shape}')
    return boxes.reshape(-1, 4)


class PoseRuntime:
    """Top-down pose estimation with an exported model.

    Calls from several threads at once are safe. It can be pickled and copied, and used in a
    forked process: the model is then loaded again.

    Args:
        model (str | Path): Path of an exported model, or the name of one in
            the package's ``weights``. Default: the shipped one.
        backend (str, optional): ``'onnxruntime'`` or ``'openvino'``; None for
            the one that the file's suffix belongs to. Default: None.
        threads (int, optional): Threads of the engine; None for all CPUs.
            Default: None.
        max_batch (int): Persons that are cut out and decoded at once, which
            bounds the memory. Default: 16.
        layout (str, optional): Give the keypoints of ``'coco'``,
            ``'crowdpose'`` or ``'mpii'``, if the model has them; None for the
            model's own. Default: None.

    Attributes:
        meta (PoseMeta): What the model says about itself, with the keypoints
            of ``layout``.

    Raises:
        InputError: If the model cannot be used. It is a ValueError.
        ValueError: If another argument is out of its range.

    Example:
        >>> import cv2                                  # doctest: +SKIP
        >>> pose = PoseRuntime('lpn50.onnx', threads=2)     # doctest: +SKIP
        >>> image = cv2.imread('street.jpg')            # doctest: +SKIP
        >>> boxes = [[10, 20, 110, 320], [90, 25, 180, 300]]
        >>> keypoints, scores = pose(image, boxes)      # doctest: +SKIP
        >>> keypoints.shape, scores.shape               # doctest: +SKIP
        ((2, 17, 2), (2, 17))
    """

    def __init__(
        self,
        model: str | Path = DEFAULT_MODEL,
        backend: str | None = None,
        threads: int | None = None,
        max_batch: int = 16,
        layout: str | None = None,
    ) -> None:
        if max_batch < 1:
            raise ValueError(f'max_batch must be positive, got {max_batch!r}')
        self._engine = load_engine(model, 'pose', backend, threads)
        self.meta: PoseMeta = self._engine.meta
        self._num_keypoints = len(self.meta.keypoint_names)
        self._layout = None
        if layout is not None:
            self._layout, self.meta = to_layout(self.meta, layout)
        self.max_batch = max_batch

    def __call__(
        self,
        images: Image | Sequence[Image],
        bboxes: np.ndarray | Sequence[np.ndarray] | None = None,
    ) -> Keypoints | list[Keypoints]:
        """Estimate the poses in an image, or in each of a list of images.

        Args:
            images (Image | Sequence[Image]): uint8 array in shape (H, W, 3), channels in the order
                BGR, as ``cv2.imread`` gives it; the path of an image file; a PIL image; or a list
                of such.
            bboxes (np.ndarray | Sequence[np.ndarray], optional): Persons'
                boxes (x1, y1, x2, y2) in pixels, in shape (N, 4); for a list
                of images, a list of such. None for the whole image as one
                box. Default: None.

        Returns:
            tuple:
            - keypoints (np.ndarray): (x, y) in pixels of the image, float32
              in shape (N, K, 2).
            - scores (np.ndarray): float32 in shape (N, K).

            For a list of images, a list of such tuples.

        Raises:
            ValueError: If an image or a box is not as described.
        """
        if not isinstance(images, (list, tuple)):
            return self._estimate([images], None if bboxes is None else [bboxes])[0]
        return self._estimate(images, bboxes)

    def submit(self, image: Image, bboxes: np.ndarray) -> list['Future[Keypoints]']:
        """Estimate the poses in an image in the engine's threads, each with persons of its own.

        For persons of one image after the other, such as a video's: no thread waits for
        another's persons.

        Args:
            image (Image): As of a call.
            bboxes (np.ndarray): Boxes (x1, y1, x2, y2) in pixels, in shape (N, 4).

        Returns:
            list[Future]: One for each person, or for as many as the model takes at once, which
            gives what a call for these persons gives.

        Raises:
            ValueError: As of a call.
        """
        image, size = as_image(image), self._engine.batch or 1
        center, scale = self._center_scale(_as_boxes(bboxes))
        parts = [slice(start, start + size) for start in range(0, len(center), size)]
        return [
            self._engine.submit(self._estimate_part, image, center[part], scale[part])
            for part in parts
        ]

    def _estimate_part(self, image: np.ndarray, center: np.ndarray, scale: np.ndarray) -> Keypoints:
        owners = [0] * len(center)
        found = self._find([image], owners, center, scale, self._engine.run_single)
        return self._layout(*found) if self._layout else found

    def side_by_side(self, count: int) -> bool:
        """Tell whether ``count`` persons, one a thread, keep more than half of the threads busy."""
        return self._engine.side_by_side(count)

    def _estimate(
        self, images: Sequence[Image], bboxes: Sequence[np.ndarray] | None
    ) -> list[Keypoints]:
        images = [as_image(image) for image in images]
        if bboxes is None:
            bboxes = [whole_image(image) for image in images]
        if len(bboxes) != len(images):
            raise ValueError(f'{len(images)} images were given with boxes for {len(bboxes)}')
        boxes = [_as_boxes(image_boxes) for image_boxes in bboxes]
        counts = [len(image_boxes) for image_boxes in boxes]
        center, scale = self._center_scale(np.concatenate(boxes or [np.zeros((0, 4))]))
        owners = np.repeat(np.arange(len(images)), counts)
        keypoints = np.empty((len(center), self._num_keypoints, 2), np.float32)
        scores = np.empty((len(center), self._num_keypoints), np.float32)
        for start in range(0, len(center), self.max_batch):
            part = slice(start, start + self.max_batch)
            keypoints[part], scores[part] = self._find(
                images, owners[part].tolist(), center[part], scale[part], self._engine
            )
        if self._layout:
            keypoints, scores = self._layout(keypoints, scores)
        ends = np.cumsum(counts)
        return [
            (keypoints[end - count : end], scores[end - count : end])
            for end, count in zip(ends, counts)
        ]

    def _center_scale(self, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return topdown.boxes_to_center_scale(boxes, self.meta.input_size, self.meta.bbox_padding)

    def _find(
        self,
        images: list[np.ndarray],
        owners: list[int],
        center: np.ndarray,
        scale: np.ndarray,
        infer: Callable[[np.ndarray], list[np.ndarray]],
    ) -> Keypoints:
        """Estimate the poses of a batch of persons, of whom each is in the image of an index."""
        coords, scores, size = self._decode(infer(self._crop(images, owners, center, scale)))
        return topdown.to_image(coords, center, scale, size), scores

    def _crop(self, images, owners, center, scale) -> np.ndarray:
        """Write the crops of a batch into one array (N, h, w, 3)."""
        width, height = self.meta.input_size
        crops = np.empty((len(owners), height, width, 3), np.uint8)
        start = 0
        for owner, persons in groupby(owners):
            part = slice(start, start := start + len(list(persons)))
            topdown.crop(
                images[owner], center[part], scale[part], self.meta.input_size, crops[part]
            )
        if self.meta.channel_order == 'rgb':
            crops = topdown.swap_channels(crops)
        return crops

    def _decode(self, outputs: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
        """Return coordinates, scores, and the size that the former are in."""
        meta = self.meta
        if meta.outputs == 'keypoints':
            coords, scores = outputs
            return coords, scores, meta.input_size
        (heatmaps,) = outputs
        if meta.codec == 'BetaSoftArgmaxHeatmap':
            coords, scores = topdown.soft_argmax(heatmaps, meta.beta)
        else:
            coords, scores = topdown.argmax(heatmaps)
        if meta.quarter_offset:
            coords = topdown.quarter_offset(coords, heatmaps)
        return coords, scores, meta.heatmap_size
