#!/usr/bin/env python
"""Check that the runtime's memory stays flat over thousands of frames."""

import argparse
import sys

from lpn_mmpose.errors import InputError, fail
from lpn_mmpose.runtime import PoseRuntime
from lpn_mmpose.runtime.pose import DEFAULT_MODEL
from lpn_mmpose.runtime.soak import growth, soak


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('model', nargs='?', default=DEFAULT_MODEL, help='default: %(default)s')
    parser.add_argument('--backend', choices=('onnxruntime', 'openvino'))
    parser.add_argument('--threads', type=int)
    parser.add_argument('--frames', type=int, default=5000)
    parser.add_argument(
        '--limit', type=float, default=0.05, help='growth that is an error (default: %(default)s)'
    )
    return parser.parse_args()


def main():
    args = parse_args()
    if args.frames < 10:
        fail(InputError(f'--frames must be at least 10, got {args.frames}'))
    try:
        pose = PoseRuntime(args.model, args.backend, args.threads)
        records = soak(pose, args.frames)
    except ValueError as error:
        fail(error)
    for frame, memory in records[:: max(len(records) // 10, 1)]:
        print(f'frame {frame:6d}  {memory:7.1f} MB')
    grown = growth(records)
    print(f'growth from the first to the last fifth: {grown:+.1%}')
    return int(grown > args.limit)


if __name__ == '__main__':
    sys.exit(main())
