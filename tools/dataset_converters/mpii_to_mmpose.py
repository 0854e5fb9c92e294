#!/usr/bin/env python
"""Put MPII's original archives where the configs read them."""

import argparse
from pathlib import Path

from lpn_mmpose.dataset_converters import convert_mpii, read_val_images, unpack
from lpn_mmpose.errors import InputError, fail

MAT_FILE = 'annotations/mpii_human_pose_v1_u12_1.mat'


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'source',
        nargs='+',
        help="mpii_human_pose_v1.tar.gz, and HRNet's or MMPose's annotations "
        'or the original mpii_human_pose_v1_u12_2.zip, or folders of them',
    )
    parser.add_argument('--out', default='data/mpii', help='default: data/mpii')
    parser.add_argument(
        '--val-images',
        help='convert the original annotations, with the images that this '
        'file names (a line each, or JSON) as validation set',
    )
    return parser.parse_args()


def main():
    args = parse_args()
    out = Path(args.out)
    try:
        names = args.val_images and read_val_images(args.val_images)
        counts = unpack(args.source, out, 'mpii')
        converted = names and convert_mpii(out / MAT_FILE, out / 'annotations', names)
    except InputError as error:
        fail(error)
    for folder, count in counts.items():
        print(f'{out / folder}: {count} files')
    for split, count in (converted or {}).items():
        print(f'{out}/annotations/mpii_{split}.json: {count} persons')


if __name__ == '__main__':
    main()
