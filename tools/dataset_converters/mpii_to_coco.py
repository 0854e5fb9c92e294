#!/usr/bin/env python
"""Convert MPII's annotations, as MMPose has them, to COCO-style ones."""

import argparse
import sys

from lpn_mmpose.dataset_converters import mpii_to_coco


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('ann_file', help="mpii_train.json, or HRNet's train.json")
    parser.add_argument('images', help='folder of the photographs')
    parser.add_argument('out', help='COCO-style JSON to write')
    return parser.parse_args()


def main():
    args = parse_args()
    try:
        counts = mpii_to_coco(args.ann_file, args.images, args.out)
    except (OSError, ValueError) as error:
        sys.exit(f'error: {error}')
    print(', '.join(f'{count} {name.replace("_", " ")}' for name, count in counts.items()))


if __name__ == '__main__':
    main()
