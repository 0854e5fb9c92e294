"""Heads, registered in MMPose's ``MODELS``."""

from .lpn_head import LPNHead

__all__ = ['LPNHead']
