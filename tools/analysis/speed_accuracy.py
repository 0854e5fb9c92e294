#!/usr/bin/env python
"""Measure the published networks' speed on this CPU and draw it over AP.

Writes OUT.json (every row, with flip test and without) and OUT.png (COCO's
rows as bubbles, as LPN's release shows them). One process, one image at a
time, random weights, the networks in turn: PyTorch as the release runs it, and
LPN's also as our export runs it in ONNX Runtime.
"""

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import lpn_mmpose  # noqa: F401, puts the mends in place

# isort: split
import torch
from tqdm import tqdm

from lpn_mmpose.model_zoo import published_rows
from lpn_mmpose.speed import (
    draw,
    exported_network,
    machine,
    measure,
    torch_network,
)


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--out',
        default='docs/speed_accuracy',
        help='files to write, without suffix (default: %(default)s)',
    )
    parser.add_argument(
        '--threads',
        type=int,
        default=torch.get_num_threads(),
        help="default: PyTorch's, here %(default)s",
    )
    parser.add_argument('--rounds', type=int, default=30, help='default: %(default)s')
    args = parser.parse_args()
    if args.threads < 1 or args.rounds < 2:
        parser.error('--threads must be at least 1 and --rounds at least 2')
    return args


def main():
    args = parse_args()
    torch.set_num_threads(args.threads)
    rows = published_rows()
    networks = [torch_network(row) for row in tqdm(rows, desc='networks', leave=False)]
    with TemporaryDirectory() as folder:
        networks += [
            exported_network(network, args.threads, Path(folder))
            for network in tqdm(networks, desc='exports', leave=False)
            if network.row.method.startswith('lpn')
        ]
    report = dict(
        machine=machine(),
        threads=args.threads,
        rounds=args.rounds,
        results=measure(networks, args.rounds),
    )
    out = Path(args.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    for result in report['results']:
        print(
            '{dataset} {method:<16} {runtime:<13}'.format(**result),
            'FPS {:6.2f} flip, {:6.2f} without'.format(
                result['flip']['fps'], result['no_flip']['fps']
            ),
        )
    json_file, png_file = (f'{out}.{suffix}' for suffix in ('json', 'png'))
    Path(json_file).write_text(json.dumps(report, indent=1) + '\n')
    draw(report, png_file)
    print(json_file, png_file)


if __name__ == '__main__':
    main()
