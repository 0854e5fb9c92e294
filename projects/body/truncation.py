"""Persons cut off by the edge of the picture, as a third of COCO's held-out persons are."""

import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmpose.registry import TRANSFORMS


@TRANSFORMS.register_module()
class RandomTruncation(BaseTransform):
    """Let the picture end inside the person's box; before :class:`GetBBoxCenterScale`.

    What lies beyond becomes black, as all is that a crop takes from outside of a picture. Keypoints
    there have no label. The box ends at the edge, and a little beyond the keypoints that are left on
    the other sides.

    Required Keys: ``img``, ``bbox``, ``keypoints``, ``keypoints_visible``; all of them are modified.

    Args:
        prob (float): Probability. Default: 0.3.
        keep (tuple[float, float]): Range of the share of the box that is kept, along the side
            that is cut. Default: ``(0.35, 0.85)``.
        sides (tuple[float, float, float, float]): Probabilities of the left, upper, right and lower
            side. Default: ``(0.15, 0.1, 0.15, 0.6)``.
        min_keypoints (int): A person who would keep fewer labelled keypoints stays whole.
            Default: 4.
        margin (float): Around the keypoints, in units of the box's longer side. Default: 0.1.
    """

    def __init__(
        self,
        prob: float = 0.3,
        keep: tuple[float, float] = (0.35, 0.85),
        sides: tuple[float, float, float, float] = (0.15, 0.1, 0.15, 0.6),
        min_keypoints: int = 4,
        margin: float = 0.1,
    ) -> None:
        self.prob, self.keep, self.sides = prob, keep, sides
        self.min_keypoints, self.margin = min_keypoints, margin

    @cache_randomness
    def _choose(self) -> tuple[int, float] | None:
        """Return the side of (x1, y1, x2, y2) that is cut, and the share that is kept."""
        if np.random.rand() >= self.prob:
            return None
        return int(np.random.choice(4, p=self.sides)), np.random.uniform(*self.keep)

    def transform(self, results: dict) -> dict:
        chosen = self._choose()
        if chosen is None:
            return results
        side, keep = chosen
        axis, is_far = side % 2, side >= 2
        box = results['bbox'][0].copy()
        low, high = box[axis], box[axis + 2]
        edge = int(low + keep * (high - low) if is_far else high - keep * (high - low))
        keypoints, visible = results['keypoints'][0], results['keypoints_visible'].copy()
        place = keypoints[:, axis]
        beyond = place >= edge if is_far else place < edge
        labelled = visible[0].reshape(len(keypoints), -1)[:, 0] > 0
        left = keypoints[labelled & ~beyond]
        if len(left) < self.min_keypoints:
            return results
        visible[0, beyond] = 0
        self.end_picture(results, side, edge)
        margin = self.margin * (box[2:] - box[:2]).max()
        box[side] = edge
        box[:2] = np.maximum(box[:2], left.min(0) - margin)
        box[2:] = np.minimum(box[2:], left.max(0) + margin)
        results.update(bbox=box[None], keypoints_visible=visible)
        return results

    def end_picture(self, results: dict, side: int, edge: int) -> None:
        """Make ``img`` black beyond an edge, on a side of (x1, y1, x2, y2)."""
        image = results['img'].copy()
        cut = [slice(None), slice(None)]
        cut[1 - side % 2] = slice(edge, None) if side >= 2 else slice(0, max(edge, 0))
        image[tuple(cut)] = 0
        results['img'] = image
