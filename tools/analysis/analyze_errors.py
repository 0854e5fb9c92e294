#!/usr/bin/env python
"""Show where the predictions of tools/test.py --dump are wrong.

Writes errors.json, pck.png (a curve for each joint), outcomes.png (right,
left-right swapped, elsewhere) and the contact sheets worst.png and even.png.
"""

import argparse
import json
from pathlib import Path

import cv2
import numpy as np

import lpn_mmpose  # noqa: F401, puts the patches in place

# isort: split
from lpn_mmpose.analysis import keypoint_errors
from lpn_mmpose.analysis.contact_sheet import draw_persons
from lpn_mmpose.analysis.predictions import keypoint_meta, read_persons
from lpn_mmpose.errors import InputError, fail
from lpn_mmpose.utils.config import add_cfg_options, load_config


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config of the test')
    parser.add_argument('predictions', help='pickle of tools/test.py --dump (not trusted)')
    parser.add_argument('--out-dir', default='outputs/errors')
    parser.add_argument(
        '--thr',
        type=float,
        default=0.2,
        help="threshold in units of the evaluator's size: the torso or head, "
        'else the box (default: 0.2)',
    )
    parser.add_argument(
        '--num', type=int, default=24, help='persons on a contact sheet (default: 24; 0: no sheets)'
    )
    parser.add_argument('--img-dir', help='folder of the images; default: where the test had them')
    add_cfg_options(parser)
    return parser.parse_args()


def analyze(args):
    if args.thr <= 0 or args.num < 0:
        raise InputError('--thr must be positive and --num not negative')
    cfg = load_config(args.config, args.cfg_options)
    persons = read_persons(args.predictions, cfg)
    if args.img_dir:
        persons.images = [str(Path(args.img_dir, Path(image).name)) for image in persons.images]
    result = keypoint_errors.analyse(persons, args.thr)
    order = keypoint_errors.rank(persons, args.thr)
    count = min(args.num, len(order))
    chosen = dict(
        worst=order[:count], even=np.sort(order)[np.linspace(0, len(order) - 1, count, dtype=int)]
    )
    out_dir = Path(args.out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    for name, indices in chosen.items():
        result[name] = keypoint_errors.describe(persons, indices, args.thr)
        if count:
            captions = [
                f'{line["right"]}/{line["labelled"]} right, {line["swaps"]} swapped'
                for line in result[name]
            ]
            sheet = draw_persons(persons, keypoint_meta(cfg), indices, captions)
            cv2.imwrite(str(out_dir / f'{name}.png'), sheet)
    keypoint_errors.draw_pck(result).savefig(out_dir / 'pck.png', dpi=110)
    keypoint_errors.draw_outcomes(result).savefig(out_dir / 'outcomes.png', dpi=110)
    (out_dir / 'errors.json').write_text(json.dumps(result, indent=1))
    return result


def main():
    args = parse_args()
    try:
        result = analyze(args)
    except (InputError, OSError) as error:
        fail(error)
    print(f'{"keypoint":16}{"labelled":>9}{"right":>8}{"swapped":>9}{"elsewhere":>11}')
    for name, joint in result['joints'].items():
        if joint['labelled']:
            print(
                f'{name:16}{joint["labelled"]:9}{joint["right"]:8.3f}'
                f'{joint["swapped"]:9.3f}{joint["elsewhere"]:11.3f}'
            )
    swaps, mean = result['swaps'], result['mean']
    joints = sum(joint['labelled'] > 0 for joint in result['joints'].values())
    print(f'persons {result["persons"]}, with a {result["unit"]} size {result["measured"]}')
    print(
        f'left and right swapped: {swaps["count"]} of {swaps["of"]} joints, '
        f'in {swaps["persons"]} persons'
    )
    print(
        f'PCK@{args.thr:g} of {joints} joints: {mean["pck"]:.4f}, '
        f'had the sides been right {mean["pck_sides_forgiven"]:.4f}'
    )
    print('written', args.out_dir)


if __name__ == '__main__':
    main()
