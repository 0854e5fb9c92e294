"""Size and cost of a model."""
from typing import Dict, Tuple

import torch
from mmpose.models.pose_estimators.base import BasePoseEstimator
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

#: Convolutions of the release's rule.
CONVS = (nn.Conv2d, nn.ConvTranspose2d)


def complexity(model: BasePoseEstimator,
               shape: Tuple[int, int]) -> Dict:
    """Count parameters and operations of a pose estimator.

    Args:
        model (BasePoseEstimator): An MMPose model.
        shape (tuple[int, int]): Height and width of the input.

    Returns:
        dict:
        - input_shape (list[int]): (1, 3, H, W)
        - params (int): Parameters, trainable or not
        - macs (int): Multiply-accumulates of all convolutions and matrix
          products
        - gflops_release (float): What LPN's release and SimpleBaseline's
          tables call GFLOPs: ``prod(weight.shape) * H_out * W_out`` summed
          over all convolutions and transposed convolutions (the latter thus
          at their output size), divided by 1024**3
    """
    parameter = next(model.parameters())
    images = parameter.new_zeros((1, 3, *shape))
    operations = 0

    def count(module, inputs, output):
        nonlocal operations
        operations += module.weight.numel() * output.shape[2:].numel()

    handles = [
        module.register_forward_hook(count) for module in model.modules()
        if isinstance(module, CONVS)
    ]
    training = model.training
    model.eval()
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(images, None, mode='tensor')
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()
    return dict(
        input_shape=list(images.shape),
        params=sum(p.numel() for p in model.parameters()),
        macs=counter.get_total_flops() // 2,
        gflops_release=operations / 1024**3)
