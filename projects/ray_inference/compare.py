#!/usr/bin/env python
"""Compare a result with that of lpn-pose for the same images.

lpn-pose photos/ --out one --det yolox-nano --no-draw
python projects/ray_inference/run.py photos/ --out many --det yolox-nano
python projects/ray_inference/compare.py many one
"""

import argparse
import sys
from collections import defaultdict
from pathlib import Path

import folders
import numpy as np

from lpn_mmpose.errors import InputError, fail
from lpn_mmpose.runtime.results import read_json_list


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('parquet', type=Path, help='--out of run.py')
    parser.add_argument('json', type=Path, help='--out of lpn-pose')
    parser.add_argument('--tolerance', type=float, default=1e-3, help='px (default: %(default)s)')
    args = parser.parse_args(argv)
    ours, theirs = defaultdict(list), defaultdict(list)
    try:
        for folder, command in ((args.parquet / 'poses', 'run.py'), (args.json, 'lpn-pose')):
            if not folder.is_dir():
                raise InputError(f'{folder} does not exist: give the --out of {command}')
        for row in folders.parquet().read_table(args.parquet / 'poses').to_pylist():
            ours[row['image']] += [] if row['person'] is None else [row]
        for result in read_json_list(args.json / 'results.json'):
            theirs[result['file_name']].append(result)
    except (OSError, ValueError) as error:
        fail(error)
    other = theirs.keys() - ours.keys()
    other |= {name for name, rows in ours.items() if len(rows) != len(theirs.get(name, []))}
    gaps = dict(keypoints=[0.0], boxes=[0.0], scores=[0.0])
    persons = 0
    for name in ours.keys() - other:
        for ours_, theirs_ in zip(ours[name], theirs.get(name, [])):
            triples = np.reshape(theirs_['keypoints'], (-1, 3))
            x, y, w, h = theirs_['bbox']
            gaps['keypoints'].append(np.abs(ours_['keypoints'] - triples[:, :2]).max())
            gaps['boxes'].append(np.abs(np.subtract(ours_['bbox'], (x, y, x + w, y + h))).max())
            gaps['scores'].append(np.abs(ours_['keypoint_scores'] - triples[:, 2]).max())
            persons += 1
    largest = {name: float(max(values)) for name, values in gaps.items()}
    print(
        f'{len(ours)} images, {persons} persons; other persons in {len(other)} images; largest '
        f'differences: keypoints {largest["keypoints"]:.2g} px, boxes {largest["boxes"]:.2g} px, '
        f'scores {largest["scores"]:.2g}'
    )
    for name in sorted(other)[:5]:
        print(f'{name}: {len(ours[name])} persons, and {len(theirs[name])} by lpn-pose')
    return int(bool(other) or max(largest.values()) > args.tolerance or not persons)


if __name__ == '__main__':
    sys.exit(main())
