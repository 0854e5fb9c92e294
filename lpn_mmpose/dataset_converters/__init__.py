"""Converters from datasets' original layouts to what the configs read."""

from .archives import unpack
from .holdout import hold_out, is_held_out
from .lsp import convert_lsp
from .lspet import convert_lspet
from .mpii import convert_mpii, read_val_images
from .mpii_coco import mpii_to_coco

__all__ = [
    'convert_lsp',
    'convert_lspet',
    'convert_mpii',
    'hold_out',
    'is_held_out',
    'mpii_to_coco',
    'read_val_images',
    'unpack',
]
