"""Converters from datasets' original layouts to COCO-style annotations."""
from .lspet import LspetSummary, convert_lspet

__all__ = ['LspetSummary', 'convert_lspet']
