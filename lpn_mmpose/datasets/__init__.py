"""Datasets and transforms, registered in MMPose's registries."""

from .coco import OriginalCocoDataset
from .lspet import LspetDataset
from .mpii import ZeroBasedMpiiDataset
from .named_combined import NamedCombinedDataset
from .transforms import ClippedBBoxTransform

__all__ = [
    'ClippedBBoxTransform',
    'LspetDataset',
    'NamedCombinedDataset',
    'OriginalCocoDataset',
    'ZeroBasedMpiiDataset',
]
