"""Metrics, registered in MMPose's ``METRICS``."""
from .torso_pck import TorsoPCKAccuracy, torso_sizes

__all__ = ['TorsoPCKAccuracy', 'torso_sizes']
