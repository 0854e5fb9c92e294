#!/usr/bin/env python
"""Draw the curves of training runs and print their last and best metrics.

LOG is a work directory, whose starts are joined where a run was resumed, or
a JSON file of vis_data/.
"""

import argparse
import os

from lpn_mmpose.analysis import logs
from lpn_mmpose.errors import InputError, fail


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    tasks = parser.add_subparsers(dest='task', required=True)
    plot = tasks.add_parser('plot_curve', help='draw and print')
    plot.add_argument('json_logs', nargs='+', metavar='LOG')
    plot.add_argument(
        '--keys', nargs='+', help='scalars to draw; default: loss, lr and the metrics'
    )
    plot.add_argument('--title', default='')
    plot.add_argument('--legend', nargs='+', help='a name for each LOG; default: the paths')
    plot.add_argument('--out', default='curves.png', help='picture (default: curves.png)')
    time = tasks.add_parser('cal_train_time', help='time an iteration')
    time.add_argument('json_logs', nargs='+', metavar='LOG')
    time.add_argument(
        '--include-outliers', action='store_true', help='count the first row of every epoch, too'
    )
    return parser.parse_args()


def plot_curve(args, runs):
    names = args.legend or args.json_logs
    if len(set(names)) < len(runs):
        raise InputError(f'--legend needs {len(runs)} different names')
    keys = args.keys or logs.default_keys(runs)
    for key in keys:
        if not any(len(logs.curve(run, key)[0]) for run in runs):
            rows = [row for run in runs for part in run for row in part]
            known = {name for row in rows for name in row}
            raise InputError(f'no run has {key}; they have {", ".join(sorted(known))}')
    if not args.out.lower().endswith(('.png', '.svg', '.pdf')):
        raise InputError(f'--out {args.out} is no .png, .svg or .pdf')
    figure = logs.draw_curves(dict(zip(names, runs)), keys, args.title)
    os.makedirs(os.path.dirname(args.out) or '.', exist_ok=True)
    figure.savefig(args.out, dpi=120)
    for name, run in zip(names, runs):
        print(name)
        print('\n'.join(f'  {line}' for line in logs.summary(run)))
    print('drawn', args.out)


def cal_train_time(args, runs):
    for name, run in zip(args.json_logs, runs):
        times = logs.iteration_times(run, args.include_outliers)
        print(
            f'{name}: {times["seconds"]:.3f} s an iteration, '
            f'{times["data_seconds"]:.3f} s of it waiting for data'
        )


def main():
    args = parse_args()
    try:
        runs = [logs.read_scalars(path) for path in args.json_logs]
        task = dict(plot_curve=plot_curve, cal_train_time=cal_train_time)
        task[args.task](args, runs)
    except (InputError, OSError) as error:
        fail(error)


if __name__ == '__main__':
    main()
