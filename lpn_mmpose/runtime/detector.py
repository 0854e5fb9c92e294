"""Persons' boxes, from an exported detector."""

from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..errors import InputError
from . import detector_graphs as graphs
from . import topdown
from .download import get_detector, known_detectors, unpack_detector
from .engines import find_exported_model, load_engine
from .media import Image, as_image
from .model_meta import DetectionMeta


def nms(boxes: np.ndarray, scores: np.ndarray, score_thr: float, iou_thr: float) -> np.ndarray:
    """Suppress boxes that overlap one of a higher score, by OpenCV.

    Args:
        boxes (np.ndarray): Boxes (x1, y1, x2, y2) in shape (N, 4).
        scores (np.ndarray): Scores in shape (N, ).
        score_thr (float): Boxes that do not score more are left out.
        iou_thr (float): Boxes that overlap more are suppressed.

    Returns:
        np.ndarray: Indices of the boxes kept, the highest score first.
    """
    xywh = np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]])
    kept = cv2.dnn.NMSBoxes(xywh.tolist(), scores.tolist(), score_thr, iou_thr)
    return np.asarray(kept, np.intp).reshape(-1)


def fit_image(
    image: np.ndarray, size: tuple[int, int], pad_value: int, fit: str, whole_factor: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Resize an image to a network's input, and pad it.

    Args:
        image (np.ndarray): uint8 (H, W, 3).
        size (tuple[int, int]): Width and height of the input.
        pad_value (int): Value of the padding.
        fit (str): One of :data:`lpn_mmpose.runtime.detector_graphs.FITS`.
        whole_factor (bool): Whether sizes are cut to whole pixels and the
            factor stays, as in YOLOX; otherwise they are rounded and the
            factors are those of the rounded sizes, as in MMDet.

    Returns:
        tuple:
        - padded (np.ndarray): uint8 (1, h, w, 3).
        - factor (np.ndarray): Factors (2, ) in x and y.
        - offset (np.ndarray): Where the image begins (2, ), x and y.
    """
    shape = np.array(image.shape[1::-1])
    factor = np.divide(size, shape)
    if fit != 'stretch':
        factor = np.full(2, factor.min())
    resized = (shape * factor + (0 if whole_factor else 0.5)).astype(int)
    resized = np.clip(resized, 1, size)
    offset = (np.array(size) - resized) // 2 if fit == 'center' else np.zeros(2, int)
    padded = np.full((1, size[1], size[0], 3), pad_value, np.uint8)
    (x, y), (w, h) = offset, resized
    padded[0, y : y + h, x : x + w] = cv2.resize(image, resized.tolist())
    return padded, factor if whole_factor else resized / shape, offset


class PersonDetector:
    """Find persons with a detector: one of a list, or any public ONNX file.

    Does what is around the network: resizing with the aspect ratio kept,
    padding, thresholds, non-maximum suppression.

    Args:
        model (str | Path): Name of a detector that is downloaded at the first
            use (:func:`lpn_mmpose.runtime.download.known_detectors`:
            ``'yolox-nano'``, ``'yolox-tiny'``, ``'rtmdet-nano'``,
            ``'rtmdet-m'``); or path of an exported detector of this package,
            of one of the kinds in :mod:`lpn_mmpose.runtime.detector_graphs`,
            or of a zip file that holds one, such as MMDeploy's; or the name
            of one in the package's ``weights``.
        backend (str, optional): See :class:`PoseRuntime`. Default: None.
        threads (int, optional): See :class:`PoseRuntime`. Default: None.
        score_thr (float, optional): Boxes that do not score more are left
            out; None for the model's own threshold. Default: None.
        iou_thr (float, optional): Boxes that overlap a higher-scoring one
            more than this are left out; None for the model's own threshold.
            Default: None.
        input (dict, optional): How images go into a detector of another
            project, as far as neither its files nor the list of detectors
            say it: ``size``, ``mean``, ``std``, ``order``, ``pad``, ``fit``
            and ``person`` of
            :class:`lpn_mmpose.runtime.detector_graphs.InputFormat`, or
            ``like``, the name of a detector whose input is the same.
            Default: None.

    Attributes:
        meta (DetectionMeta): What the model says about itself, or what is
            known of it.
        path (Path): Its file.
        engine (Engine): The network alone.

    Raises:
        InputError: If the model cannot be had or used. It is a ValueError.

    Example:
        >>> detector = PersonDetector('yolox-nano')     # doctest: +SKIP
        >>> boxes, scores = detector(image)             # doctest: +SKIP
        >>> keypoints, _ = PoseRuntime()(image, boxes)  # doctest: +SKIP
    """

    def __init__(
        self,
        model: str | Path,
        backend: str | None = None,
        threads: int | None = None,
        score_thr: float | None = None,
        iou_thr: float | None = None,
        input: dict[str, Any] | None = None,
    ) -> None:
        given = dict(input or {})
        like = given.pop('like', None)
        table, path = known_detectors(), Path(model)
        if like is not None and like not in table:
            raise InputError(f'there is no detector {like}: known are {", ".join(table)}')
        if str(model) in table and not path.is_file():
            like = like or str(model)
            path = get_detector(str(model))
        elif path.suffix == '.zip' and path.is_file():
            path = unpack_detector(path)
        else:
            try:
                path = find_exported_model(path)
            except InputError as error:
                raise InputError(
                    f'{error}; or name one that is downloaded: {", ".join(table)}'
                ) from None
        known = graphs.parse_input(table[like].input) if like else graphs.InputFormat()
        describe = graphs.Description(path, graphs.parse_input(given), known)
        self.engine = load_engine(path, 'detection', backend, threads, describe)
        meta = self.engine.meta
        self.path = self.engine.path
        if given and not isinstance(meta, graphs.GraphMeta):
            raise InputError(
                f'model {path} says itself how images go in, so {", ".join(given)} cannot be given'
            )
        self.meta: DetectionMeta = meta
        self.score_thr = meta.score_thr if score_thr is None else score_thr
        self.iou_thr = meta.iou_thr if iou_thr is None else iou_thr
        self._decoded = False
        if meta.outputs == 'yolox':
            grey = np.full((1, *meta.input_size[::-1], 3), meta.pad_value, np.uint8)
            rows = self.engine(graphs.to_tensor(grey, meta))[0][0]
            self._decoded = graphs.yolox_is_decoded(rows, meta)

    def __call__(self, image: Image) -> tuple[np.ndarray, np.ndarray]:
        """Find the persons in an image.

        Args:
            image (Image): uint8 array in shape (H, W, 3), BGR; the
                path of an image file; or a PIL image.

        Returns:
            tuple:
            - boxes (np.ndarray): Boxes (x1, y1, x2, y2) in pixels of the
              image, float32 in shape (N, 4), the highest score first.
            - scores (np.ndarray): float32 in shape (N, ).

        Raises:
            ValueError: If ``image`` is not as described.
        """
        return self._find(as_image(image), self.engine)

    def submit(self, image: Image) -> 'Future[tuple[np.ndarray, np.ndarray]]':
        """Find the persons in an image in one of the engine's threads.

        For many images: no thread waits for another's.

        Args:
            image (Image): As of a call.

        Returns:
            Future: Gives what a call gives.

        Raises:
            ValueError: As of a call.
        """
        return self.engine.submit(self._find, as_image(image), self.engine.run_single)

    def _find(
        self, image: np.ndarray, infer: Callable[[np.ndarray], list[np.ndarray]]
    ) -> tuple[np.ndarray, np.ndarray]:
        meta = self.meta
        padded, factor, offset = fit_image(
            image,
            meta.input_size,
            meta.pad_value,
            getattr(meta, 'fit', 'top-left'),
            meta.outputs == 'yolox',
        )
        if meta.channel_order == 'rgb':
            padded = topdown.swap_channels(padded)
        if isinstance(meta, graphs.GraphMeta):
            arrays = infer(graphs.to_tensor(padded, meta))
            try:
                boxes, scores = graphs.read_outputs(arrays, meta, self.score_thr, self._decoded)
            except ValueError as error:
                raise InputError(f'model {self.path}: {error}') from error
        else:
            boxes, scores = (array[0] for array in infer(padded))
        candidates = np.flatnonzero(scores > self.score_thr)
        boxes, scores = boxes[candidates], scores[candidates]
        if meta.outputs == 'boxes':  # as MMDet does; YOLOX clips at the end
            boxes = np.clip(boxes, 0, [*meta.input_size] * 2)
        kept = nms(boxes, scores, self.score_thr, self.iou_thr)
        kept = kept[: meta.max_per_img]
        boxes, scores = boxes[kept], scores[kept].astype(np.float32)
        boxes = (boxes - np.tile(offset, 2)) / np.tile(factor, 2)
        boxes = np.clip(boxes, 0, [*image.shape[1::-1]] * 2).astype(np.float32)
        # MMDet keeps boxes in the padding, where no person can be
        inside = (boxes[:, 2:] > boxes[:, :2]).all(-1)
        return boxes[inside], scores[inside]
