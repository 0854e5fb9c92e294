#!/usr/bin/env python
"""Convert original checkpoints of LPN, SimpleBaseline and HRNet to MMPose.

Depth, attention and keypoints are found by the weights, and with them the
config of the published model. Every key is used, or the error names it.
"""

import argparse

import lpn_mmpose  # noqa: F401, puts the patches in place
from lpn_mmpose.errors import InputError, fail
from lpn_mmpose.zoo.weights_conversion import convert, convert_back


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('src', help='lpn_*.pth, pose_resnet_*.pth or pose_hrnet_*.pth')
    parser.add_argument('dst', help='file to write')
    parser.add_argument('--config', help="the model's config, if it is none of the published")
    parser.add_argument(
        '--inverse',
        action='store_true',
        help="write an MMPose checkpoint's weights in the original's format",
    )
    return parser.parse_args()


def main():
    args = parse_args()
    try:
        run = convert_back if args.inverse else convert
        print(run(args.src, args.dst, args.config))
    except (InputError, OSError) as error:
        fail(error)
    print(args.dst)


if __name__ == '__main__':
    main()
