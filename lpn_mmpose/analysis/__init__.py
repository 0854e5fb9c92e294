"""Measuring and drawing what models and training runs do."""
