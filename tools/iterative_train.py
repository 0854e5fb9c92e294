#!/usr/bin/env python
"""Train in stages, as LPN's paper does: iterative training."""

import lpn_mmpose  # noqa: F401, puts the mends in place
from lpn_mmpose import iterative

if __name__ == '__main__':
    iterative.main()
