"""Backbones, registered in MMPose's ``MODELS``."""

from .lpn import LPN

__all__ = ['LPN']
