"""Converters from datasets' original layouts to what the configs read."""

from .archives import unpack
from .lspet import convert_lspet
from .mpii import convert_mpii, read_val_images

__all__ = ['convert_lspet', 'convert_mpii', 'read_val_images', 'unpack']
