"""Trained models to files that inference engines run; needs PyTorch."""
