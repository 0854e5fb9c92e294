"""COCO with the ground-truth boxes of LPN's original code."""

import numpy as np
from mmpose.datasets.datasets import CocoDataset
from mmpose.registry import DATASETS


def clean_box(bbox: np.ndarray, width: int, height: int) -> np.ndarray:
    """Clip an annotated box to the image as HRNet's code does.

    The box ends at its last pixel, ``x + w - 1``, so that it is one pixel
    smaller than what MMPose makes of it, and a box that begins outside of the
    image is moved inside before it is clipped.

    Args:
        bbox (np.ndarray): Box as xywh in pixels, in shape (4, ).
        width (int): The image's width.
        height (int): The image's height.

    Returns:
        np.ndarray: Box as xyxy in pixels, float32, in shape (4, ).
    """
    low = np.maximum(bbox[:2], 0)
    high = np.minimum(
        low + np.maximum(np.subtract(bbox[2:4], 1), 0), np.subtract((width, height), 1)
    )
    return np.concatenate([low, high]).astype(np.float32)


@DATASETS.register_module()
class OriginalCocoDataset(CocoDataset):
    """COCO whose ground-truth boxes are those of LPN's original code.

    The original code builds on HRNet's code, whose annotated boxes, in training and
    in evaluation, are those of :func:`clean_box`. A detector's boxes are the
    same here, in MMPose and in the original code. Arguments are those of
    :class:`mmpose.datasets.CocoDataset`.
    """

    def parse_data_info(self, raw_data_info: dict) -> dict | None:
        """Parse an annotation as the parent does, with the cleaned box.

        Args:
            raw_data_info (dict): ``'raw_ann_info'`` and ``'raw_img_info'``.

        Returns:
            dict | None: The parsed annotation.
        """
        info = super().parse_data_info(raw_data_info)
        if info is not None:
            image = raw_data_info['raw_img_info']
            info['bbox'] = clean_box(
                raw_data_info['raw_ann_info']['bbox'], image['width'], image['height']
            )[None]
        return info
