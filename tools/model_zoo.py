#!/usr/bin/env python
"""Write docs/model_zoo.md from the metafiles and the measured speed."""

import argparse
from pathlib import Path

import lpn_mmpose  # noqa: F401, puts the patches in place
from lpn_mmpose.zoo.page import page

DOCS = Path(__file__).parents[1] / 'docs'


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--speed',
        type=Path,
        default=DOCS / 'speed_accuracy.json',
        help='from tools/analysis/speed_accuracy.py; left out if it is not there',
    )
    parser.add_argument('--out', type=Path, default=DOCS / 'model_zoo.md', help='page')
    return parser.parse_args()


def main():
    args = parse_args()
    args.out.write_text(page(args.speed if args.speed.is_file() else None))
    print(args.out)


if __name__ == '__main__':
    main()
