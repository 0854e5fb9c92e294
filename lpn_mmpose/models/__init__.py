"""Network modules and losses, registered in MMPose's ``MODELS``."""

from .losses import KeypointMSESoftmaxLoss
from .lpn import LPN
from .lpn_head import LPNHead

__all__ = ['LPN', 'KeypointMSESoftmaxLoss', 'LPNHead']
