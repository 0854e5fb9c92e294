"""Datasets, registered in MMPose's ``DATASETS``."""
from .lspet import LspetDataset

__all__ = ['LspetDataset']
