"""Trained models to files that inference engines run; needs PyTorch."""
from .export import export

__all__ = ['export']
