#!/usr/bin/env python
"""Split COCO-style annotations by a hash of the photographs' names."""

import argparse
import sys

from lpn_mmpose.dataset_converters import hold_out


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('ann_file', help='COCO-style JSON')
    parser.add_argument('train_file', help='where the larger part goes')
    parser.add_argument('val_file', help='where the held-out part goes')
    parser.add_argument(
        '--share', type=float, default=0.1, help='share of photographs to hold out (default: 0.1)'
    )
    return parser.parse_args()


def main():
    args = parse_args()
    try:
        counts = hold_out(args.ann_file, args.train_file, args.val_file, args.share)
    except (OSError, ValueError) as error:
        sys.exit(f'error: {error}')
    for name, count in counts.items():
        print(f'{name}: {count["images"]} images, {count["persons"]} persons')


if __name__ == '__main__':
    main()
