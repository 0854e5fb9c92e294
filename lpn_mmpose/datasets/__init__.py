"""Datasets and transforms, registered in MMPose's registries."""

from .coco import OriginalCocoDataset
from .lspet import LspetDataset
from .mpii import ZeroBasedMpiiDataset
from .transforms import ClippedBBoxTransform

__all__ = [
    'ClippedBBoxTransform',
    'LspetDataset',
    'OriginalCocoDataset',
    'ZeroBasedMpiiDataset',
]
