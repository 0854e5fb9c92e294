"""Pose estimators, registered in MMPose's ``MODELS``."""

from .exported import ExportedPoseEstimator

__all__ = ['ExportedPoseEstimator']
