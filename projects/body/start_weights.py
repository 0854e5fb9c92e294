#!/usr/bin/env python
"""Turn 14-joint LPN weights (CrowdPose's order) into 19-joint ones.

The joints that both have keep their channel of the last convolution; those of
the face start from small random numbers.
"""

import argparse

import torch
from mmengine.runner import CheckpointLoader

import lpn_mmpose  # noqa: F401, puts the mends in place

#: For CrowdPose's joints their places among COCO's 17, head and neck.
TO_BODY19 = [5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('checkpoint', help='published 14-joint checkpoint')
    parser.add_argument('out', help='19-joint checkpoint to write')
    args = parser.parse_args()
    weights = CheckpointLoader.load_checkpoint(args.checkpoint, 'cpu')['state_dict']
    generator = torch.Generator().manual_seed(0)
    for name in ('weight', 'bias'):
        old = weights[f'head.final_layer.{name}'].float()
        new = torch.zeros(19, *old.shape[1:])
        if name == 'weight':
            new.normal_(0, 0.001, generator=generator)
        new[TO_BODY19] = old
        weights[f'head.final_layer.{name}'] = new
    torch.save(
        dict(state_dict={k: v.float() if v.is_floating_point() else v for k, v in weights.items()}),
        args.out,
    )


if __name__ == '__main__':
    main()
