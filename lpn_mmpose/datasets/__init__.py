"""Datasets, registered in MMPose's ``DATASETS``."""
from .lspet import LspetDataset
from .mpii import ZeroBasedMpiiDataset

__all__ = ['LspetDataset', 'ZeroBasedMpiiDataset']
