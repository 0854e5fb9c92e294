#!/usr/bin/env python
"""Check the data that a config reads: nothing missing, broken or outside.

Every image is decoded, every annotation read, and the settings that must fit
the data compared with it. The exit status is 0 if all is well, 1 if not.
"""

import argparse
import sys

import lpn_mmpose  # noqa: F401, puts the patches in place

# isort: split
from lpn_mmpose.datasets.data_check import check_split, repair_file
from lpn_mmpose.datasets.settings_check import settings_mistakes
from lpn_mmpose.errors import InputError, fail
from lpn_mmpose.utils.config import add_cfg_options, load_config

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
        '--fix',
        metavar='OUT.json',
        help='write the annotations of --splits anew with what can be put right: areas, ids, '
        'flags, numbers that are strings',
    )
    add_cfg_options(parser)
    return parser.parse_args()


def fix(cfg, args):
    changes, left = repair_file(cfg, args.splits, args.fix)
    for kind, count in changes.items():
        print(f'put right: {count} {kind}')
    for finding in left[: args.limit]:
        print(f'left as it is: {finding.message}')
    print(f'{args.fix}: {sum(changes.values())} changes, {len(left)} mistakes left')


def main():
    args = parse_args()
    reports, checked = [], {}
    try:
        cfg = load_config(args.config, args.cfg_options)
        mistakes = settings_mistakes(cfg, *args.splits)
        if mistakes:
            print('settings, to be put right before the data are checked:')
            print(*(f'  {mistake}' for mistake in mistakes), sep='\n')
            print(f'{len(mistakes)} problems')
            sys.exit(1)
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
        if args.fix:
            fix(cfg, args)
    except InputError as error:
        fail(error)
    problems = sum(report.number_of_problems for report in reports)
    print(f'{problems} problems' if problems else 'all is well')
    sys.exit(bool(problems))


if __name__ == '__main__':
    main()
