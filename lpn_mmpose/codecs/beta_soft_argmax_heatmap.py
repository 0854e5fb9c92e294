"""MSRA heatmaps decoded by LPN's Beta-Soft-Argmax."""

import numpy as np
from mmpose.codecs import MSRAHeatmap
from mmpose.registry import KEYPOINT_CODECS
from mmpose.utils.tensor_utils import to_numpy
from torch import Tensor

from ..runtime import topdown


@KEYPOINT_CODECS.register_module()
class BetaSoftArgmaxHeatmap(MSRAHeatmap):
    r"""Represent keypoints as Gaussian heatmaps, decoded by Beta-Soft-Argmax.

    `Simple and Lightweight Human Pose Estimation
    <https://arxiv.org/abs/1911.10346>`_. Keypoints are encoded as in
    :class:`mmpose.codecs.MSRAHeatmap` and decoded as the expected coordinates
    under a softmax over each heatmap :math:`h` of size [W, H]:

    .. math::
        (x, y) = \sum_{i,j} \frac{\exp(\beta h_{ji})}
        {\sum_{k,l} \exp(\beta h_{lk})} (i, j)

    The score of a keypoint is the heatmap's value at its rounded coordinates.
    Without :math:`\beta` keypoints are the heatmaps' maxima, to which the
    expectation tends as :math:`\beta` grows.

    Note:

        - instance number: N
        - keypoint number: K
        - keypoint dimension: D
        - image size: [w, h]
        - heatmap size: [W, H]

    Encoded:

        - heatmaps (np.ndarray): The generated heatmap in shape (K, H, W)
            where [W, H] is the `heatmap_size`
        - keypoint_weights (np.ndarray): The target weights in shape (N, K)

    Args:
        input_size (tuple): Image size in [w, h]
        heatmap_size (tuple): Heatmap size in [W, H]
        sigma (float): The sigma value of the Gaussian heatmap
        beta (float, optional): The factor :math:`\beta` on the heatmap in the
            softmax; ``None`` decodes the maxima as `SimpleBaseline
            <https://arxiv.org/abs/1804.06208>`_ and HRNet do. MMPose's
            ``MSRAHeatmap`` differs from these at the heatmaps' borders: it
            shifts x without regard to y, and the reverse. Defaults to 160, as
            in LPN's original code
        quarter_offset (bool): Whether to shift the decoded keypoints by a
            quarter of a heatmap pixel towards the higher neighbour. Defaults
            to ``True``: LPN's published results include it, although the
            expectation alone is already a sub-pixel estimate

    Raises:
        ValueError: If ``beta`` is not positive.

    Example:
        >>> import numpy as np
        >>> from lpn_mmpose.codecs import BetaSoftArgmaxHeatmap
        >>> codec = BetaSoftArgmaxHeatmap(
        ...     input_size=(192, 256), heatmap_size=(48, 64), sigma=2)
        >>> encoded = codec.encode(np.array([[[96., 128.], [30., 40.]]]))
        >>> encoded['heatmaps'].shape
        (2, 64, 48)
        >>> keypoints, scores = codec.decode(encoded['heatmaps'])
        >>> keypoints.shape, scores.shape
        ((1, 2, 2), (1, 2))
        >>> keypoints[0, 0].round(3).tolist()
        [96.0, 128.0]
    """

    def __init__(
        self,
        input_size: tuple[int, int],
        heatmap_size: tuple[int, int],
        sigma: float,
        beta: float | None = 160.0,
        quarter_offset: bool = True,
    ) -> None:
        super().__init__(input_size, heatmap_size, sigma)
        if beta is not None and not beta > 0:
            raise ValueError(f'beta must be positive, got {beta!r}')
        self.beta = beta
        self.quarter_offset = quarter_offset

    def _decode(self, heatmaps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Decode (..., K, H, W) to input-image (..., K, 2) and (..., K)."""
        if self.beta is None:
            coords, scores = topdown.argmax(heatmaps)
        else:
            coords, scores = topdown.soft_argmax(heatmaps, self.beta)
        if self.quarter_offset:
            coords = topdown.quarter_offset(coords, heatmaps)
        return coords * self.scale_factor, scores

    def decode(self, encoded: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Decode keypoint coordinates from heatmaps. The decoded keypoint
        coordinates are in the input image space.

        Args:
            encoded (np.ndarray): Heatmaps in shape (K, H, W)

        Returns:
            tuple:
            - keypoints (np.ndarray): Decoded keypoint coordinates in shape
                (1, K, D)
            - scores (np.ndarray): The heatmap values at the keypoints in
                shape (1, K)
        """
        return self._decode(encoded[None])

    def batch_decode(self, batch_encoded: Tensor) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Decode keypoint coordinates from a batch of heatmaps at once.

        Args:
            batch_encoded (Tensor): Heatmaps in shape (B, K, H, W)

        Returns:
            tuple:
            - batch_keypoints (List[np.ndarray]): B arrays of decoded keypoint
                coordinates in the input image space, in shape (1, K, D)
            - batch_scores (List[np.ndarray]): B arrays of the heatmap values
                at the keypoints, in shape (1, K)
        """
        # NumPy has no bfloat16, which autocast may leave here
        keypoints, scores = self._decode(to_numpy(batch_encoded.float()))
        return list(keypoints[:, None]), list(scores[:, None])
