"""Network modules and losses, registered in MMPose's ``MODELS``."""

from .backbones import LPN
from .heads import LPNHead
from .losses import KeypointMSESoftmaxLoss
from .pose_estimators import ExportedPoseEstimator

__all__ = ['LPN', 'ExportedPoseEstimator', 'KeypointMSESoftmaxLoss', 'LPNHead']
