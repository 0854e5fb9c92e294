#!/usr/bin/env python
"""Time LPN-50 and its peers on this machine's CPU, in one run."""

import argparse
import json
from pathlib import Path

import numpy as np

import lpn_mmpose  # noqa: F401, puts the mends in place
from lpn_mmpose import cli
from lpn_mmpose.deploy.benchmark import (
    ENGINES,
    OURS,
    PEERS,
    PRECISIONS,
    Benchmark,
    Request,
    chart,
    markdown,
)

#: The photograph that persons are cut out of.
IMAGE = Path(__file__).resolve().parents[2] / 'demo' / 'demo.jpg'


def parse_args():
    default = Request(IMAGE)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument('--image', type=Path, default=IMAGE, help='photograph of persons')
    parser.add_argument('--models', nargs='+', choices=[OURS, *PEERS], default=default.models)
    parser.add_argument('--engines', nargs='+', choices=ENGINES, default=default.engines)
    parser.add_argument('--precisions', nargs='+', choices=PRECISIONS, default=default.precisions)
    parser.add_argument('--batches', nargs='+', type=int, default=default.batches)
    parser.add_argument('--flip', choices=['both', 'no', 'yes'], default='both')
    parser.add_argument('--scopes', nargs='+', choices=default.scopes, default=default.scopes)
    parser.add_argument('--threads', type=int, default=default.threads)
    parser.add_argument(
        '--repeats',
        type=int,
        default=default.repeats,
        help='rounds: a run of every row, four of the smallest batch',
    )
    parser.add_argument('--no-memory', action='store_true', help='do not measure peak memory')
    parser.add_argument(
        '--calib', help='folder of persons to calibrate int8 on; those of --image if not given'
    )
    parser.add_argument('--out-dir', default='outputs/benchmark_inference', help='folder')
    return parser.parse_args()


def main():
    args = parse_args()
    for name in ('batches', 'threads', 'repeats'):
        if np.min(getattr(args, name)) < 1:
            cli.fail(cli.InputError(f'--{name} must be positive, got {getattr(args, name)}'))
    flips = dict(both=(False, True), no=(False,), yes=(True,))[args.flip]
    request = Request(
        args.image,
        args.models,
        args.engines,
        args.precisions,
        sorted(set(args.batches)),
        flips,
        args.scopes,
        args.threads,
        args.repeats,
        not args.no_memory,
        args.calib,
    )
    out = Path(args.out_dir)
    try:
        benchmark = Benchmark(request, out / 'models')
        benchmark.prepare()
        if not benchmark.rows:
            raise cli.InputError('the options leave no row to measure')
        result = benchmark.run()
    except (cli.InputError, OSError) as error:
        cli.fail(error)
    (out / 'benchmark_inference.json').write_text(json.dumps(result, indent=1))
    (out / 'benchmark_inference.md').write_text(markdown(result))
    chart(result, out / 'benchmark_inference.png')
    print(markdown(result))
    for suffix in ('json', 'md', 'png'):
        print(out / f'benchmark_inference.{suffix}')


if __name__ == '__main__':
    main()
