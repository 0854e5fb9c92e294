#!/usr/bin/env python
"""Put COCO's original archives where the configs read them."""

import argparse

from lpn_mmpose.dataset_converters import unpack
from lpn_mmpose.errors import InputError, fail


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'source',
        nargs='+',
        help='train2017.zip, val2017.zip, annotations_trainval2017.zip and '
        'COCO_val2017_detections_AP_H_56_person.json, or folders of them',
    )
    parser.add_argument('--out', default='data/coco', help='default: data/coco')
    return parser.parse_args()


def main():
    args = parse_args()
    try:
        counts = unpack(args.source, args.out, 'coco')
    except InputError as error:
        fail(error)
    for folder, count in counts.items():
        print(f'{args.out}/{folder}: {count} files')


if __name__ == '__main__':
    main()
