#!/usr/bin/env python
"""Time LPN-50 and its peers on this machine's CPU; see projects/cpu_benchmark."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / 'projects' / 'cpu_benchmark'))

from inference_benchmark import main  # noqa: E402

if __name__ == '__main__':
    main()
