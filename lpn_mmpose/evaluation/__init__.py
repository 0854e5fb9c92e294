"""Metrics, registered in MMPose's ``METRICS``."""
from .torso_pck import TorsoPCKAccuracy, joint_accuracy, torso_sizes

__all__ = ['TorsoPCKAccuracy', 'joint_accuracy', 'torso_sizes']
