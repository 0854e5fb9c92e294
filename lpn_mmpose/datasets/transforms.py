"""Augmentation as in LPN's original code, registered in ``TRANSFORMS``."""

import numpy as np
from mmpose.datasets.transforms import RandomBBoxTransform
from mmpose.registry import TRANSFORMS


@TRANSFORMS.register_module()
class ClippedBBoxTransform(RandomBBoxTransform):
    """Scale and rotate boxes by normal numbers that are clipped.

    LPN's original code, as SimpleBaseline's and HRNet's code, draws the scale from
    a normal distribution and clips it at one standard deviation, and the
    angle at two; a third of the scales are thus extreme ones. MMPose 1.3.2
    draws both from a distribution truncated at one. The bounds are the same:
    ``scale_factor`` and ``rotate_factor``, of which the standard deviations
    are half the range and half the angle. Arguments are those of
    :class:`mmpose.datasets.transforms.RandomBBoxTransform`.
    """

    @staticmethod
    def _truncnorm(low: float = -1.0, high: float = 1.0, size: tuple = ()) -> np.ndarray:
        """Sample (N, 4): shift in x, in y, scale, and angle last."""
        sample = np.random.randn(*size)
        sample[:, 3] /= 2
        return np.clip(sample, low, high).astype(np.float32)
