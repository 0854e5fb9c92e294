#!/usr/bin/env python
"""Train a pose model; the flags are those of MMPose's tools/train.py."""

import lpn_mmpose  # noqa: F401, puts the patches in place
from lpn_mmpose.apis.train import train

if __name__ == '__main__':
    train()
