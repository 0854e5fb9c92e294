#!/usr/bin/env python
"""Draw the published networks' speed on this CPU over AP; see projects/cpu_benchmark."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / 'projects' / 'cpu_benchmark'))

from published_speed import main  # noqa: E402

if __name__ == '__main__':
    main()
