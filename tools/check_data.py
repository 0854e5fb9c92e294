#!/usr/bin/env python
"""Check the data that a config reads: nothing missing, broken or outside.

Every image is decoded. The exit status is 0 if all is well, 1 if not.
"""

import argparse
import sys

import lpn_mmpose  # noqa: F401, puts the mends in place

# isort: split
from mmengine.config import DictAction

from lpn_mmpose import cli
from lpn_mmpose.data_check import check_split

SPLITS = ('train', 'val', 'test')


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--splits',
        nargs='+',
        choices=SPLITS,
        default=SPLITS,
        help='default: all; one that has the data of another is not repeated',
    )
    parser.add_argument(
        '--limit', type=int, default=10, help='problems of each kind to print (default: 10)'
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='override settings of the config, key=value',
    )
    return parser.parse_args()


def main():
    args = parse_args()
    reports, checked = [], {}
    try:
        cfg = cli.load_config(args.config)
        if args.cfg_options:
            cfg.merge_from_dict(args.cfg_options)
        for split in args.splits:
            loader = cfg.get(f'{split}_dataloader')
            if loader is None:
                print(f'{split}: not in the config')
                continue
            same = next(
                (other for other, dataset in checked.items() if dataset == loader.dataset), None
            )
            if same:
                print(f'{split}: the data of {same}')
                continue
            checked[split] = loader.dataset
            reports.append(check_split(cfg, split))
            print(reports[-1].format(args.limit))
    except cli.InputError as error:
        cli.fail(error)
    problems = sum(report.number_of_problems for report in reports)
    print(f'{problems} problems' if problems else 'all is well')
    sys.exit(bool(problems))


if __name__ == '__main__':
    main()
