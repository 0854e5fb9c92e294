#!/usr/bin/env python
"""Print parameters and cost of a config's model, or of the published ones."""

import argparse
import json
import sys

import lpn_mmpose  # noqa: F401, puts the patches in place

# isort: split
from mmpose.apis import init_model
from tqdm import tqdm

from lpn_mmpose.analysis.complexity import (
    complexity,
    complexity_table,
    published_complexity,
)
from lpn_mmpose.errors import InputError, fail
from lpn_mmpose.utils.config import add_cfg_options, input_size, load_config
from lpn_mmpose.zoo.published import published_rows

RULE = 'prod(weight.shape) * H_out * W_out of the convs / 1024^3'


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument('config', nargs='?', help='config file')
    what.add_argument(
        '--table',
        action='store_true',
        help='all rows of the published tables, against what they print',
    )
    parser.add_argument(
        '--shape',
        type=int,
        nargs=2,
        metavar=('HEIGHT', 'WIDTH'),
        help="input size; default: the config's",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument('--json', action='store_true', help='print JSON')
    form.add_argument('--markdown', action='store_true', help='print a Markdown table')
    add_cfg_options(parser)
    args = parser.parse_args()
    if args.table and (args.shape or args.cfg_options):
        parser.error('--table takes neither --shape nor --cfg-options')
    if args.markdown and not args.table:
        parser.error('--markdown needs --table')
    return args


def print_table(args):
    results = published_complexity(tqdm(published_rows(), desc='models', leave=False))
    if args.json:
        print(json.dumps(results, indent=2))
    else:
        print(complexity_table(results, markdown=args.markdown))
        if not args.markdown:
            print(f"GFLOPs: the original's rule, {RULE}")
    unexplained = [r for r in results if not (r['params_explanation'] and r['gflops_explanation'])]
    if unexplained:
        names = ', '.join(f'{r["dataset"]} {r["method"]}' for r in unexplained)
        print(f'error: other digits than published: {names}', file=sys.stderr)
        sys.exit(1)


def print_model(args):
    try:
        cfg = load_config(args.config, args.cfg_options)
        size = args.shape[::-1] if args.shape else input_size(cfg)
    except InputError as error:
        fail(error)
    result = complexity(init_model(cfg, device='cpu'), size)
    if args.json:
        print(json.dumps(result))
        return
    print('input shape     ', 'x'.join(map(str, result['input_shape'])))
    print(f'parameters       {result["params"]:,}')
    print(f'MACs             {result["macs"]:,}')
    print(f'GFLOPs (original) {result["gflops_original"]:.3f}  {RULE}')


def main():
    args = parse_args()
    if args.table:
        print_table(args)
    else:
        print_model(args)


if __name__ == '__main__':
    main()
