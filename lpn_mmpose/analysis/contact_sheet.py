"""Many pictures on one sheet."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from mmengine.structures import InstanceData
from mmpose.structures import PoseDataSample
from mmpose.visualization import PoseLocalVisualizer

from ..errors import InputError
from ..runtime import topdown
from ..runtime.media import read_image
from .predictions import EvaluatedPersons

#: Height in pixels of the line of text above a picture.
CAPTION = 18
FONT = dict(
    fontFace=cv2.FONT_HERSHEY_SIMPLEX, fontScale=0.42, color=(255, 255, 255), lineType=cv2.LINE_AA
)


def tile(pictures: Sequence[np.ndarray], captions: Sequence[str], columns: int) -> np.ndarray:
    """Put pictures under their captions, row by row.

    Args:
        pictures (Sequence[np.ndarray]): Pictures in shape (h, w, 3), padded
            to the largest.
        captions (Sequence[str]): A line for each; what is too long is cut.
        columns (int): Pictures in a row.

    Returns:
        np.ndarray: The sheet, in shape (H, W, 3).
    """
    height, width = np.max([picture.shape[:2] for picture in pictures], axis=0)
    height, columns = height + CAPTION, min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    sheet = np.zeros((rows * height, columns * width, 3), np.uint8)
    for i, (picture, caption) in enumerate(zip(pictures, captions)):
        row, column = divmod(i, columns)
        cell = sheet[row * height :, column * width :][:height, :width]
        h, w = picture.shape[:2]
        cell[CAPTION:][:h, :w] = picture
        text = np.zeros((CAPTION, width, 3), np.uint8)
        cell[:CAPTION] = cv2.putText(text, caption, (3, CAPTION - 5), **FONT)
    return sheet


def draw_persons(
    persons: EvaluatedPersons,
    meta: dict,
    indices: Sequence[int],
    captions: Sequence[str],
    size: int = 192,
    columns: int = 6,
) -> np.ndarray:
    """Draw persons, each with the ground truth left and prediction right.

    Args:
        persons (EvaluatedPersons): From :func:`read_persons`.
        meta (dict): From :func:`keypoint_meta`: the skeleton, its colours.
        indices (Sequence[int]): Which persons.
        captions (Sequence[str]): A line above each prediction.
        size (int): Width and height of a crop in pixels. Default: 192.
        columns (int): EvaluatedPersons in a row. Default: 6.

    Returns:
        np.ndarray: The sheet in shape (H, W, 3), BGR.

    Raises:
        InputError: If an image cannot be read or a box is empty.
    """
    visualizer = PoseLocalVisualizer('contact_sheet', line_width=2, radius=3)
    visualizer.set_dataset_meta(meta)
    pictures, lines = [], []
    for i, caption in zip(indices, captions):
        try:
            image = read_image(persons.images[i], persons.ignore_orientation)
        except InputError as error:
            raise InputError(
                f'{error}; --img-dir names another folder, --num 0 draws no images'
            ) from error
        try:
            center, scale = topdown.boxes_to_center_scale(persons.boxes[i], (size, size))
        except ValueError as error:
            raise InputError(f'{persons.images[i]}, annotation {persons.ids[i]}: {error}') from None
        (crop,) = topdown.crop(image, center[None], scale[None], (size, size))
        matrix = topdown.crop_matrix(center, scale, (size, size))
        both = [
            keypoints @ matrix[:, :2].T + matrix[:, 2]
            for keypoints in (persons.annotated[i], persons.predicted[i])
        ]
        sample = PoseDataSample(
            gt_instances=InstanceData(
                keypoints=np.stack(both[:1]), keypoints_visible=persons.labelled[i : i + 1]
            ),
            pred_instances=InstanceData(keypoints=np.stack(both[1:])),
        )
        rgb = np.ascontiguousarray(crop[..., ::-1])
        drawn = visualizer.add_datasample('', rgb, sample)[..., ::-1]
        pictures += np.split(drawn, 2, axis=1)
        lines += [f'truth {Path(persons.images[i]).stem}', caption]
    return tile(pictures, lines, 2 * columns)
