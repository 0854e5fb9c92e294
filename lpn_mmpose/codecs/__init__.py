"""Keypoint codecs, registered in MMPose's ``KEYPOINT_CODECS``."""

from .beta_soft_argmax_heatmap import BetaSoftArgmaxHeatmap

__all__ = ['BetaSoftArgmaxHeatmap']
