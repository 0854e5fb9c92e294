#!/usr/bin/env python
"""Test a pose model; the flags are those of MMPose's tools/test.py."""

import lpn_mmpose  # noqa: F401, puts the mends in place
from lpn_mmpose import cli

if __name__ == '__main__':
    cli.test()
