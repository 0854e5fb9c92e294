#!/usr/bin/env python
"""Export a trained pose model, or an RTMDet, for an inference engine."""

import argparse

import lpn_mmpose  # noqa: F401, puts the patches in place

# isort: split
from lpn_mmpose.deploy.export import FORMATS, PRECISIONS, export
from lpn_mmpose.errors import InputError, fail
from lpn_mmpose.utils.config import add_cfg_options, load_config


def batch_size(text):
    return None if text == 'dynamic' else int(text)


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='weights, a file or URL')
    parser.add_argument('--format', choices=list(FORMATS), default='onnx', help='default: onnx')
    parser.add_argument(
        '--precision',
        choices=PRECISIONS,
        default='fp32',
        help='fp16 stores float16 weights and computes in float32; default: fp32',
    )
    parser.add_argument(
        '--batch',
        type=batch_size,
        default='dynamic',
        metavar='dynamic|N',
        help='images at once; default: dynamic',
    )
    parser.add_argument('--flip', action='store_true', help='average with the mirrored image')
    parser.add_argument(
        '--decode', action='store_true', help='return keypoints and scores instead of heatmaps'
    )
    parser.add_argument(
        '--calib',
        metavar='DIR',
        help="images to calibrate int8 on; default: the config's training images",
    )
    parser.add_argument(
        '--calib-images', type=int, default=128, metavar='N', help='how many of them; default: 128'
    )
    parser.add_argument('-o', '--out', required=True, help='.onnx, .xml or .pt file to write')
    add_cfg_options(parser)
    return parser.parse_args()


def main():
    args = parse_args()
    try:
        cfg = load_config(args.config, args.cfg_options)
        result = export(
            cfg,
            args.checkpoint,
            args.out,
            args.format,
            args.precision,
            args.batch,
            args.flip,
            args.decode,
            args.calib,
            args.calib_images,
        )
    except (InputError, OSError) as error:
        fail(error)
    print(
        f'largest difference of {result.meta.outputs} from PyTorch: '
        f'{result.difference:.2e}, their range {result.range:.3g}'
    )
    print(f'{result.path}  {result.megabytes:.1f} MB')


if __name__ == '__main__':
    main()
