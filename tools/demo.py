#!/usr/bin/env python
"""Find the poses in an image, a folder or a video, and draw them."""

import argparse
import logging
import sys

import lpn_mmpose  # noqa: F401, puts the patches in place
from lpn_mmpose.errors import InputError, fail, print_lines


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('input', help='image, video, or folder of them')
    parser.add_argument(
        '--model',
        default='lpn50-body',
        help='name of a model or path of a config (default: lpn50-body)',
    )
    parser.add_argument('--weights', help="path or URL; default: the model's")
    parser.add_argument(
        '--det-model',
        default='whole_image',
        help='detector of persons: yolox-nano, yolox-tiny, rtmdet-nano or rtmdet-m, an ONNX file, '
        'or config or name of one of MMDet; default: the whole image is one box',
    )
    parser.add_argument('--det-weights', help='path or URL')
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--out-dir', default='outputs/demo')
    return parser.parse_args()


def main():
    args = parse_args()
    logging.disable(logging.WARNING)  # MMEngine's would bury the result
    from lpn_mmpose.apis.demo import run

    try:
        lines, status = run(args)
    except (InputError, OSError) as error:
        fail(error)
    print_lines(lines)
    return status


if __name__ == '__main__':
    sys.exit(main())
