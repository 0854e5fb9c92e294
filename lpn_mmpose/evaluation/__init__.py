"""Metrics, registered in MMPose's ``METRICS``."""
from .release import ReleaseCocoMetric, ReleaseMpiiPCKAccuracy
from .torso_pck import TorsoPCKAccuracy, torso_sizes

__all__ = [
    'ReleaseCocoMetric', 'ReleaseMpiiPCKAccuracy', 'TorsoPCKAccuracy',
    'torso_sizes'
]
