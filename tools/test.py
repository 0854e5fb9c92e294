#!/usr/bin/env python
"""Test a pose model; the flags are those of MMPose's tools/test.py."""

import lpn_mmpose  # noqa: F401, puts the patches in place
from lpn_mmpose.apis.test import test

if __name__ == '__main__':
    test()
