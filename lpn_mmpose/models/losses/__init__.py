"""Losses, registered in MMPose's ``MODELS``."""

from .heatmap_loss import KeypointMSESoftmaxLoss

__all__ = ['KeypointMSESoftmaxLoss']
