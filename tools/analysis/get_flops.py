#!/usr/bin/env python
"""Print the parameters and the cost of a config's model."""
import argparse
import json

import lpn_mmpose  # noqa: F401, puts the mends in place

# isort: split
from mmengine.config import DictAction
from mmpose.apis import init_model

from lpn_mmpose import cli
from lpn_mmpose.analysis import complexity


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--shape',
        type=int,
        nargs=2,
        metavar=('HEIGHT', 'WIDTH'),
        help="input size; default: the config's")
    parser.add_argument(
        '--json', action='store_true', help='print JSON instead of a table')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='override settings of the config, key=value')
    return parser.parse_args()


def main():
    args = parse_args()
    try:
        cfg = cli.load_config(args.config)
        if args.cfg_options:
            cfg.merge_from_dict(args.cfg_options)
        shape = args.shape or cli.input_shape(cfg)
    except cli.InputError as error:
        cli.fail(error)
    result = complexity(init_model(cfg, device='cpu'), shape)
    if args.json:
        print(json.dumps(result))
        return
    print('input shape     ', 'x'.join(map(str, result['input_shape'])))
    print(f'parameters       {result["params"]:,}')
    print(f'MACs             {result["macs"]:,}')
    print(f'GFLOPs (release) {result["gflops_release"]:.3f}  '
          'prod(weight.shape) * H_out * W_out of the convs / 1024^3')


if __name__ == '__main__':
    main()
