#!/usr/bin/env python
"""Strip a training checkpoint to its weights and dataset meta."""

import argparse

import lpn_mmpose  # noqa: F401, puts the patches in place
from lpn_mmpose.errors import InputError, fail
from lpn_mmpose.zoo.publishing import publish


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('src', help='checkpoint written by training')
    parser.add_argument('dst', help='file to write')
    parser.add_argument('--fp32', action='store_true', help='keep float32 weights')
    parser.add_argument(
        '--no-digest', action='store_true', help='do not append the SHA-256 to the file name'
    )
    parser.add_argument(
        '--leave-out',
        nargs='+',
        default=[],
        metavar='MODULE',
        help='modules of the model that only training needs',
    )
    return parser.parse_args()


def main():
    args = parse_args()
    try:
        path = publish(args.src, args.dst, not args.fp32, not args.no_digest, args.leave_out)
    except (InputError, OSError) as error:
        fail(error)
    print(path)


if __name__ == '__main__':
    main()
