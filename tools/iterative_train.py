#!/usr/bin/env python
"""Train in stages, as LPN's paper does: iterative training."""

import lpn_mmpose  # noqa: F401, puts the patches in place
from lpn_mmpose.apis.iterative_training import main

if __name__ == '__main__':
    main()
