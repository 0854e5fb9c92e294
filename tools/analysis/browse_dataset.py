#!/usr/bin/env python
"""Draw what a config's data pipeline makes of the data, without a display.

MMPose's browse_dataset draws keypoints, skeletons and target heatmaps into a
picture for each person; here it looks at the config and data first, and can
put the pictures on a contact sheet.
"""

import argparse
import sys
from pathlib import Path

import lpn_mmpose  # noqa: F401, puts the patches in place

# isort: split
import cv2

from lpn_mmpose.analysis.contact_sheet import tile
from lpn_mmpose.apis.mmpose_tools import mmpose_tool
from lpn_mmpose.datasets.data_check import require_data
from lpn_mmpose.errors import InputError, fail
from lpn_mmpose.runtime.media import read_image
from lpn_mmpose.utils.config import add_cfg_options, load_config

#: The flag that MMPose's tool has not.
SHEET = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
SHEET.add_argument(
    '--contact-sheet', metavar='PICTURE', help='file for all the pictures on one sheet'
)


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, parents=[SHEET], allow_abbrev=False)
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--output-dir',
        default='outputs/browse',
        help='new folder for the pictures (default: outputs/browse)',
    )
    parser.add_argument('--phase', default='train', choices=['train', 'val', 'test'])
    parser.add_argument(
        '--mode',
        default='transformed',
        choices=['original', 'transformed'],
        help='before or after the pipeline (default: after)',
    )
    parser.add_argument(
        '--max-item-per-dataset', type=int, default=50, help='persons to draw (default: 50)'
    )
    add_cfg_options(parser)
    return parser.parse_args()


def browse(args):
    cfg = load_config(args.config, args.cfg_options)
    require_data(cfg, args.phase)
    out_dir = Path(args.output_dir)
    if out_dir.exists() and (not out_dir.is_dir() or any(out_dir.iterdir())):
        raise InputError(f'--output-dir {out_dir} is there already; remove it or give another')
    if args.max_item_per_dataset < 1:
        raise InputError('--max-item-per-dataset must be positive')
    tool = mmpose_tool('misc/browse_dataset')
    _, flags = SHEET.parse_known_args()
    sys.argv[1:] = ['--not-show', '--output-dir', args.output_dir, *flags]
    tool.main()
    print()  # its progress bar ends no line
    files = sorted(path for path in out_dir.rglob('*') if path.is_file())
    if args.contact_sheet:
        sheet = Path(args.contact_sheet)
        sheet.parent.mkdir(parents=True, exist_ok=True)
        pictures = [read_image(path) for path in files]
        cv2.imwrite(str(sheet), tile(pictures, [path.stem for path in files], 12))
    return files


def main():
    args = parse_args()
    try:
        files = browse(args)
    except (InputError, OSError) as error:
        fail(error)
    print(f'drawn {len(files)} pictures in {args.output_dir}')
    if args.contact_sheet:
        print('contact sheet', args.contact_sheet)


if __name__ == '__main__':
    main()
