"""Heatmap losses."""

import torch
import torch.nn.functional as F
from mmpose.models.losses import KeypointMSELoss
from mmpose.registry import MODELS
from torch import Tensor


@MODELS.register_module()
class KeypointMSESoftmaxLoss(KeypointMSELoss):
    r"""MSE of the heatmaps plus KL divergence of their :math:`\beta`-softmax.

    .. math::
        L = \lambda \, \mathrm{MSE}(h, t) + \mathrm{KL}(
        \mathrm{softmax}(\beta t) \,\|\, \mathrm{softmax}(\beta h))

    per labelled keypoint, with heatmap :math:`h` and target :math:`t`. Both
    terms have their minimum at :math:`h = t`; the second one makes the
    positions of a heatmap compete, as :math:`\beta`-Soft-Argmax does when it
    decodes, and gives a gradient while MSE still sits on the plateau of
    all-zero heatmaps.

    Args:
        beta (float): :math:`\beta`. Default: 10.
        mse_weight (float): :math:`\lambda`. Default: 500.
        loss_weight (float): Weight of the sum. Default: 1.
    """

    def __init__(
        self, beta: float = 10.0, mse_weight: float = 500.0, loss_weight: float = 1.0
    ) -> None:
        super().__init__(use_target_weight=True, loss_weight=loss_weight)
        self.beta = beta
        self.mse_weight = mse_weight

    def forward(
        self, output: Tensor, target: Tensor, target_weights: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        """Compute the loss.

        Args:
            output (Tensor): Predicted heatmaps (B, K, H, W).
            target (Tensor): Target heatmaps (B, K, H, W).
            target_weights (Tensor): Keypoint weights (B, K).
            mask (Tensor, optional): See :class:`KeypointMSELoss`; it applies
                to the MSE alone.

        Returns:
            Tensor: The loss, a scalar.
        """
        mse = super().forward(output, target, target_weights, mask)
        log_p = F.log_softmax(self.beta * output.flatten(2).float(), dim=-1)
        q = F.softmax(self.beta * target.flatten(2).float(), dim=-1)
        kl = F.kl_div(log_p, q, reduction='none').sum(-1)
        kl = (kl * target_weights).sum() / torch.clamp(target_weights.sum(), min=1)
        return self.mse_weight * mse + self.loss_weight * kl
