"""Metrics, registered in MMPose's ``METRICS``."""

from .original import OriginalCocoMetric, OriginalMpiiPCKAccuracy
from .torso_pck import TorsoPCKAccuracy

__all__ = [
    'OriginalCocoMetric',
    'OriginalMpiiPCKAccuracy',
    'TorsoPCKAccuracy',
]
