"""Persons' boxes, from an exported detector."""

from pathlib import Path

import cv2
import numpy as np

from .engines import load_engine
from .media import as_image
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


class PersonDetector:
    """Find persons with an exported detector, such as MMDet's RTMDet.

    Does what MMDet's test pipeline and head do around the network: resizing
    with the aspect ratio kept, padding, thresholds, non-maximum suppression.

    Args:
        model (str | Path): Path of an exported detector, or the name of one in
            the package's ``weights``.
        backend (str, optional): See :class:`PoseRuntime`. Default: None.
        threads (int, optional): See :class:`PoseRuntime`. Default: None.
        score_thr (float, optional): Boxes that do not score more are left
            out; None for the model's own threshold. Default: None.
        iou_thr (float, optional): Boxes that overlap a higher-scoring one
            more than this are left out; None for the model's own threshold.
            Default: None.

    Attributes:
        meta (DetectionMeta): What the model says about itself.

    Raises:
        InputError: If the model cannot be used. It is a ValueError.

    Example:
        >>> detector = PersonDetector('rtmdet_nano.onnx')   # doctest: +SKIP
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
    ) -> None:
        self._engine = load_engine(model, 'detection', backend, threads)
        meta = self._engine.meta
        self.meta: DetectionMeta = meta
        self.score_thr = meta.score_thr if score_thr is None else score_thr
        self.iou_thr = meta.iou_thr if iou_thr is None else iou_thr

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Find the persons in an image.

        Args:
            image (np.ndarray | str | Path | PIL.Image.Image): uint8 in shape (H, W, 3), BGR; the
                path of an image file; or a PIL image.

        Returns:
            tuple:
            - boxes (np.ndarray): Boxes (x1, y1, x2, y2) in pixels of the
              image, float32 in shape (N, 4), the highest score first.
            - scores (np.ndarray): float32 in shape (N, ).

        Raises:
            ValueError: If ``image`` is not as described.
        """
        image = as_image(image)
        height, width = image.shape[:2]
        input_width, input_height = self.meta.input_size
        factor = min(input_width / width, input_height / height)
        resized = max(int(width * factor + 0.5), 1), max(int(height * factor + 0.5), 1)
        padded = np.full((1, input_height, input_width, 3), self.meta.pad_value, np.uint8)
        padded[0, : resized[1], : resized[0]] = cv2.resize(image, resized)
        if self.meta.channel_order == 'rgb':
            padded = np.ascontiguousarray(padded[..., ::-1])
        boxes, scores = (array[0] for array in self._engine(padded))
        candidates = np.flatnonzero(scores > self.score_thr)
        boxes, scores = boxes[candidates], scores[candidates]
        boxes = np.clip(boxes, 0, [*self.meta.input_size] * 2)
        kept = nms(boxes, scores, self.score_thr, self.iou_thr)
        kept = kept[: self.meta.max_per_img]
        boxes, scores = boxes[kept], scores[kept]
        boxes = boxes * np.divide([width, height] * 2, resized * 2)
        boxes = np.clip(boxes, 0, [width, height] * 2).astype(np.float32)
        # MMDet keeps boxes in the padding, where no person can be
        inside = (boxes[:, 2:] > boxes[:, :2]).all(-1)
        return boxes[inside], scores[inside]
