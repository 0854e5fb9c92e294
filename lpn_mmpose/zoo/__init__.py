"""Our models by name, the published ones, and their weights."""

from .model_index import find_model

__all__ = ['find_model']
