"""Poses as pictures, by OpenCV."""

from collections.abc import Sequence

import cv2
import numpy as np

#: BGR colours of what is on the person's left, right and neither, as MMPose has them.
LEFT = (0, 255, 0)
RIGHT = (0, 128, 255)
MIDDLE = (255, 153, 51)
BOX = (200, 200, 200)
EDGE = (30, 30, 30)


def side_color(*names: str) -> tuple[int, int, int]:
    """Return the colour for keypoints that are all on one side, or not."""
    for side, color in (('left', LEFT), ('right', RIGHT)):
        if all(side in name for name in names):
            return color
    sides = {side for side in ('left', 'right') for n in names if side in n}
    if len(names) > 1 and len(sides) == 1:  # a limb between neck and shoulder
        return LEFT if sides == {'left'} else RIGHT
    return MIDDLE


def draw_poses(
    image: np.ndarray,
    keypoints: np.ndarray,
    scores: np.ndarray,
    names: Sequence[str],
    skeleton: Sequence[tuple[int, int]],
    score_thr: float = 0.3,
    boxes: np.ndarray | None = None,
    ids: Sequence[int] | None = None,
    in_place: bool = False,
) -> np.ndarray:
    """Draw persons: green on their left, orange on their right, blue between.

    Args:
        image (np.ndarray): uint8 in shape (H, W, 3), BGR; left as it is
            unless ``in_place``.
        keypoints (np.ndarray): (x, y) in pixels, in shape (N, K, 2).
        scores (np.ndarray): Scores in shape (N, K).
        names (Sequence[str]): The K keypoints' names.
        skeleton (Sequence[tuple[int, int]]): Pairs of keypoints to join.
        score_thr (float): Keypoints that score less are not drawn, and lines
            to them neither. Default: 0.3.
        boxes (np.ndarray, optional): Boxes (x1, y1, x2, y2) to draw, in shape
            (N, 4). Default: None.
        ids (Sequence[int], optional): N numbers to write beside the persons.
            Default: None.
        in_place (bool): Draw into ``image`` itself, which spares a copy of
            each frame of a video. Default: False.

    Returns:
        np.ndarray: The picture, in the shape of ``image``.
    """
    picture = image if in_place else image.copy()
    # lines and circles in 1/8 px
    shift = 3
    limit = 4.0 * max(image.shape[:2])
    for i, (points, seen) in enumerate(zip(keypoints, scores >= score_thr)):
        seen = seen & (np.abs(points) < limit).all(-1)
        points8 = np.rint(np.nan_to_num(points) * 2**shift).astype(int)
        extent = np.ptp(points[seen], axis=0).max() if seen.any() else 0
        width = int(np.clip(extent / 80, 1, 12))
        if boxes is not None:
            x1, y1, x2, y2 = np.rint(boxes[i]).astype(int).tolist()
            cv2.rectangle(picture, (x1, y1), (x2, y2), BOX, 1, cv2.LINE_AA)
        limbs = [(a, b) for a, b in skeleton if seen[a] and seen[b]]
        for edge in (2, 0):  # first all outlines, then the colours on them
            for a, b in limbs:
                color = EDGE if edge else side_color(names[a], names[b])
                cv2.line(
                    picture,
                    points8[a].tolist(),
                    points8[b].tolist(),
                    color,
                    width + edge,
                    cv2.LINE_AA,
                    shift,
                )
        for k in np.flatnonzero(seen):
            for edge, color in ((1, EDGE), (0, side_color(names[k]))):
                cv2.circle(
                    picture,
                    points8[k].tolist(),
                    (width + 1 + edge) * 2**shift,
                    color,
                    -1,
                    cv2.LINE_AA,
                    shift,
                )
        if ids is not None and (seen.any() or boxes is not None):
            if boxes is not None:
                x, y = np.maximum(boxes[i][:2], (2, 16))
            else:
                x, y = points[seen].min(0) - (0, 8)
            for color, thick in ((EDGE, 4), ((255, 255, 255), 1)):
                cv2.putText(
                    picture,
                    str(ids[i]),
                    (int(x), int(y)),
                    cv2.FONT_HERSHEY_SIMPLEX,
                    0.6,
                    color,
                    thick,
                    cv2.LINE_AA,
                )
    return picture
