"""Metrics, registered in MMPose's ``METRICS``."""

from .release import ReleaseCocoMetric, ReleaseMpiiPCKAccuracy
from .torso_pck import TorsoPCKAccuracy, joint_accuracy, torso_sizes

__all__ = [
    'ReleaseCocoMetric',
    'ReleaseMpiiPCKAccuracy',
    'TorsoPCKAccuracy',
    'joint_accuracy',
    'torso_sizes',
]
