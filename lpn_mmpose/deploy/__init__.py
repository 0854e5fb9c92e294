"""Exporting trained models to inference engines."""
