#!/usr/bin/env python
"""Import every module of MMPose and MMDet, build the models of MMPose's configs.

Prints what fails, with a reason, and ends with status 1 if anything does.
"""

import argparse
import sys
import warnings
from pathlib import Path

import lpn_mmpose  # noqa: F401, puts the patches in place


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--configs',
        default='body_2d_keypoint/**/*.py',
        metavar='PATTERN',
        help="which of MMPose's configs to build (default: body_2d_keypoint/**/*.py)",
    )
    parser.add_argument('--no-modules', action='store_true', help='only build models')
    return parser.parse_args()


def main():
    args = parse_args()
    warnings.simplefilter('ignore')
    import mmpose

    from lpn_mmpose.analysis import sweep
    from lpn_mmpose.errors import InputError, fail

    folder = Path(mmpose.__file__).parent / '.mim/configs'
    configs = sorted(folder.glob(args.configs))
    if not configs:
        fail(InputError(f'--configs {args.configs} matches nothing in {folder}'))
    tasks = {'models': sweep.build_failures(configs)}
    if not args.no_modules:
        tasks = {'modules': sweep.import_failures(['mmpose', 'mmdet']), **tasks}
    failed = 0
    for what, outcomes in tasks.items():
        outcomes = list(outcomes)
        wrong = {name: error for name, error in outcomes if error}
        for name, error in wrong.items():
            print(f'{name}: {error.splitlines()[0]}')
        print(f'{what}: {len(outcomes) - len(wrong)} of {len(outcomes)} work')
        failed += len(wrong)
    sys.exit(failed > 0)


if __name__ == '__main__':
    main()
