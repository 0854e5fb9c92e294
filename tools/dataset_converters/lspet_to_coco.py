#!/usr/bin/env python
"""Convert Leeds Sports Pose Extended to COCO-style annotations."""

import argparse
import sys

from lpn_mmpose.dataset_converters import convert_lspet


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('src', help='folder with joints.mat and images/')
    parser.add_argument('dst', help='folder for lspet_<split>.json')
    parser.add_argument(
        '--splits', help='JSON {split: [image names]}; default: all images are "train"'
    )
    parser.add_argument(
        '--min-joints',
        type=int,
        default=4,
        help='leave out images with fewer labelled joints (default: 4)',
    )
    return parser.parse_args()


def main():
    args = parse_args()
    try:
        summaries = convert_lspet(args.src, args.dst, args.splits, args.min_joints)
    except (OSError, ValueError) as error:
        sys.exit(f'error: {error}')
    for summary in summaries:
        print(summary)


if __name__ == '__main__':
    main()
