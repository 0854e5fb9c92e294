#!/usr/bin/env python
"""Measure how fast a config trains here, and where the time goes."""

import argparse
import json

import lpn_mmpose  # noqa: F401, puts the patches in place
from lpn_mmpose.analysis import training_speed
from lpn_mmpose.apis.train import check_compiler
from lpn_mmpose.datasets.data_check import require_data
from lpn_mmpose.errors import InputError, fail
from lpn_mmpose.utils.config import add_cfg_options, load_config


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Time training steps with each speed option, interleaved'
    )
    parser.add_argument('config', help='train config file path')
    parser.add_argument('--batch-size', type=int, help="default: the config's")
    parser.add_argument('--repeats', type=int, default=5, help='timed steps of each row')
    parser.add_argument('--threads', type=int, help='CPU threads')
    parser.add_argument(
        '--rows',
        nargs='+',
        type=int,
        choices=range(len(training_speed.ROWS)),
        help='numbers of the rows: '
        + ', '.join(f'{i} {name}' for i, name in enumerate(training_speed.ROWS)),
    )
    parser.add_argument('--json', help='also write the result to this file')
    add_cfg_options(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    rows = list(training_speed.ROWS)
    try:
        cfg = load_config(args.config, args.cfg_options)
        require_data(cfg, 'train')
        if args.rows is not None:
            rows = [rows[i] for i in args.rows]
        if '+ compile' in rows:
            cfg.compile = True
            check_compiler(cfg)
    except InputError as error:
        fail(error)
    result = training_speed.benchmark(cfg, args.batch_size, args.repeats, args.threads, rows)
    if args.json:
        with open(args.json, 'w') as file:
            json.dump(result, file, indent=2)
    print(training_speed.format_table(result))


if __name__ == '__main__':
    main()
