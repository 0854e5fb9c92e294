"""Converters from datasets' original layouts to what the configs read."""

from .archives import unpack
from .lspet import LspetSummary, convert_lspet
from .mpii import convert_mpii, read_val_images

__all__ = ['LspetSummary', 'convert_lspet', 'convert_mpii', 'read_val_images', 'unpack']
