"""Datasets and transforms, registered in MMPose's registries."""

from .coco import ReleaseCocoDataset, clean_box
from .lspet import LspetDataset
from .mpii import ZeroBasedMpiiDataset
from .transforms import ClippedBBoxTransform

__all__ = [
    'ClippedBBoxTransform',
    'LspetDataset',
    'ReleaseCocoDataset',
    'ZeroBasedMpiiDataset',
    'clean_box',
]
