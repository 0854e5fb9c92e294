#!/usr/bin/env python
"""Convert Leeds Sports Pose to COCO-style annotations."""

import argparse
import sys

from lpn_mmpose.dataset_converters import convert_lsp


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('src', help='folder with joints.mat and images/')
    parser.add_argument('dst', help='folder for lsp_<split>.json')
    parser.add_argument('--split', default='train', help='name of the part (default: train)')
    parser.add_argument(
        '--range',
        nargs=2,
        type=int,
        default=(1, None),
        metavar=('FIRST', 'LAST'),
        help='numbers of the photographs (default: all); the published '
        'training half is 1 1000, the test half 1001 2000',
    )
    return parser.parse_args()


def main():
    args = parse_args()
    try:
        print(convert_lsp(args.src, args.dst, args.split, *args.range))
    except (OSError, ValueError) as error:
        sys.exit(f'error: {error}')


if __name__ == '__main__':
    main()
