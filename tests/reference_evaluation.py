"""COCO's and MPII's evaluation from their definitions, apart from MMPose.

Plain NumPy, and pycocotools for OKS-AP, so that what the configs' metrics
print can be compared with a second computation.
"""

import contextlib
import io

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

COCO_SIGMAS = np.array(
    [
        0.026,
        0.025,
        0.025,
        0.035,
        0.035,
        0.079,
        0.079,
        0.072,
        0.072,
        0.062,
        0.062,
        0.107,
        0.107,
        0.087,
        0.087,
        0.089,
        0.089,
    ]
)
COCO_STATS = (
    'AP',
    'AP .5',
    'AP .75',
    'AP (M)',
    'AP (L)',
    'AR',
    'AR .5',
    'AR .75',
    'AR (M)',
    'AR (L)',
)
#: The columns of the MPII table and their joints.
MPII_GROUPS = {
    'Head': (9,),
    'Shoulder': (12, 13),
    'Elbow': (11, 14),
    'Wrist': (10, 15),
    'Hip': (2, 3),
    'Knee': (1, 4),
    'Ankle': (0, 5),
}


def annotated_box(bbox: list[float], width: int, height: int) -> list[float]:
    """Clip an annotation's xywh; the box ends at its last pixel."""
    x, y, w, h = bbox
    x, y = max(x, 0), max(y, 0)
    right = min(x + max(w - 1, 0), width - 1)
    bottom = min(y + max(h - 1, 0), height - 1)
    return [x, y, right - x, bottom - y]


def box_to_center_scale(bbox: list[float], aspect_ratio: float) -> tuple[np.ndarray, np.ndarray]:
    """Turn xywh into a crop's center and size, in pixels."""
    x, y, w, h = bbox
    w, h = max(w, h * aspect_ratio), max(h, w / aspect_ratio)
    center = np.array([x + bbox[2] / 2, y + bbox[3] / 2])
    return center, 1.25 * np.array([w, h])


def rescore(box_score: float, keypoint_scores: np.ndarray) -> float:
    """Multiply the box's score by the mean of those above 0.2."""
    visible = keypoint_scores[keypoint_scores > 0.2]
    return box_score * (visible.mean() if len(visible) else 0.0)


def oks(a: np.ndarray, b: np.ndarray, area: float) -> float:
    """Object keypoint similarity of two poses (17, 2)."""
    squared = ((a - b) ** 2).sum(-1)
    return np.exp(-squared / (2 * COCO_SIGMAS) ** 2 / (2 * area)).mean()


def suppress(persons: list[dict]) -> list[dict]:
    """Drop persons like a better one of their image: OKS above 0.9."""
    kept = []
    for person in sorted(persons, key=lambda p: -p['score']):
        rivals = [k for k in kept if k['image_id'] == person['image_id']]
        if all(
            oks(k['keypoints'], person['keypoints'], (k['area'] + person['area']) / 2) <= 0.9
            for k in rivals
        ):
            kept.append(person)
    return kept


def coco_stats(annotations: str, persons: list[dict]) -> dict[str, float]:
    """Evaluate poses with pycocotools.

    Args:
        annotations (str): COCO annotation file.
        persons (list[dict]): ``image_id``, ``keypoints`` (17, 2),
            ``keypoint_scores`` (17, ), ``box_score`` and ``crop_size``
            (w, h) in pixels.
    """
    persons = [
        dict(
            person,
            score=rescore(person['box_score'], person['keypoint_scores']),
            area=float(np.prod(person['crop_size'])),
        )
        for person in persons
    ]
    results = [
        dict(
            image_id=person['image_id'],
            category_id=1,
            keypoints=np.column_stack([person['keypoints'], person['keypoint_scores']])
            .ravel()
            .tolist(),
            score=float(person['score']),
        )
        for person in suppress(persons)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(annotations))
        evaluation = COCOeval(truth, truth.loadRes(results), 'keypoints')
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return dict(zip(COCO_STATS, evaluation.stats))


def pckh(
    predictions: np.ndarray,
    joints: np.ndarray,
    visible: np.ndarray,
    head_boxes: np.ndarray,
    bias: float,
) -> dict[str, float]:
    """PCKh in percent, by the columns of the published table.

    Args:
        predictions (np.ndarray): (N, 16, 2) in pixels counted from 0.
        joints (np.ndarray): (N, 16, 2) as annotated, counted from 1.
        visible (np.ndarray): (N, 16).
        head_boxes (np.ndarray): Two corners (2, 2, N), as in the .mat file.
        bias (float): Subtracted from the predictions.
    """
    distance = np.linalg.norm(predictions - bias + 1 - joints, axis=-1)
    head = 0.6 * np.linalg.norm(head_boxes[1] - head_boxes[0], axis=0)
    visible = visible.astype(bool)

    def percent(joint, threshold):
        right = distance[:, joint] / head <= threshold
        return 100 * right[visible[:, joint]].mean()

    columns = {
        name: np.mean([percent(joint, 0.5) for joint in joints_of])
        for name, joints_of in MPII_GROUPS.items()
    }
    counted = visible.copy()
    counted[:, [6, 7]] = False  # pelvis and thorax
    ratio = distance / head[:, None]
    columns['Mean'] = 100 * (ratio <= 0.5)[counted].mean()
    columns['Mean@0.1'] = 100 * (ratio <= 0.11)[counted].mean()
    columns['PCK@0.1'] = 100 * (ratio <= 0.10)[counted].mean()
    return columns
