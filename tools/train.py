#!/usr/bin/env python
"""Train a pose model; the flags are those of MMPose's tools/train.py."""

import lpn_mmpose  # noqa: F401, puts the mends in place
from lpn_mmpose import cli

if __name__ == '__main__':
    cli.train()
