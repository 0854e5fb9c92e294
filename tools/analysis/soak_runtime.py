#!/usr/bin/env python
"""Check that the runtime keeps its memory, handles and speed in long use.

Without --minutes it sees frames of changing size alone; with it, good and broken
photographs, videos and values too, and the command lpn-pose runs on them again
and again. The exit status is 1 if memory grows by more than --limit, or handles
or threads become more.
"""

import argparse
import sys

import numpy as np
from tqdm import tqdm

from lpn_mmpose.errors import InputError, fail
from lpn_mmpose.runtime import PoseRuntime
from lpn_mmpose.runtime.pose import DEFAULT_MODEL
from lpn_mmpose.runtime.soak import growth, soak, soak_mixed


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('model', nargs='?', default=DEFAULT_MODEL, help='default: %(default)s')
    parser.add_argument('--backend', choices=('onnxruntime', 'openvino'))
    parser.add_argument('--threads', type=int)
    parser.add_argument('--frames', type=int, default=5000, help='default: %(default)s')
    parser.add_argument('--minutes', type=float, help='mixed and broken input for so long')
    parser.add_argument(
        '--limit', type=float, default=0.05, help='growth that is an error (default: %(default)s)'
    )
    return parser.parse_args()


def only_frames(pose, args):
    """Return whether memory stays flat over frames."""
    records = soak(pose, args.frames)
    for frame, memory in records[:: max(len(records) // 10, 1)]:
        print(f'frame {frame:6d}  {memory:7.1f} MB')
    grown = growth(records)
    print(f'growth from the first to the last fifth: {grown:+.1%}')
    return grown <= args.limit


def mixed(pose, args):
    """Return whether memory, handles and threads stay as they are in mixed use."""
    options = ['--model', args.model]
    for name in ('backend', 'threads'):
        if getattr(args, name) is not None:
            options += [f'--{name}', str(getattr(args, name))]
    end = args.minutes * 60
    records = []
    with tqdm(total=round(end), unit='s') as progress:
        for record in soak_mixed(pose, *options):
            records.append(record)
            progress.update(min(round(record.seconds), round(end)) - progress.n)
            if record.seconds >= end and len(records) >= 10:
                break
    print('minute  rounds  images/s       MB  handles  threads')
    tenths = [np.median(rounds, axis=0) for rounds in np.array_split(np.array(records), 10)]
    for index, (seconds, _, speed, memory, handles, threads) in enumerate(tenths):
        count = len(np.array_split(records, 10)[index])
        print(
            f'{seconds / 60:6.1f}{count:8d}{speed:10.1f}{memory:9.1f}{handles:9.0f}{threads:9.0f}'
        )
    grown = growth([(record.seconds, record.memory) for record in records])
    images = sum(record.images for record in records)
    speeds = [tenth[2] for tenth in tenths]
    print(
        f'{images} images and frames; memory from the first to the last fifth {grown:+.1%}; '
        f'speed of the last tenth {speeds[-1] / np.median(speeds):.2f} of the median'
    )
    return grown <= args.limit and (tenths[-1][4:] <= tenths[0][4:]).all()


def main():
    args = parse_args()
    if args.frames < 10:
        fail(InputError(f'--frames must be at least 10, got {args.frames}'))
    try:
        pose = PoseRuntime(args.model, args.backend, args.threads)
        flat = mixed(pose, args) if args.minutes else only_frames(pose, args)
    except ValueError as error:
        fail(error)
    return int(not flat)


if __name__ == '__main__':
    sys.exit(main())
