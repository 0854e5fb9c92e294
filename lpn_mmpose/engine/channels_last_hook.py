"""Memory layout of the convolutions."""

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner


@HOOKS.register_module()
class ChannelsLastHook(Hook):
    """Keep the weights, and with them the features, in ``channels_last``.

    PyTorch's convolutions on CPUs, and on GPUs with tensor cores, are faster
    in this layout. A convolution whose weight has it returns features that
    have it, so that the images need no change. The values are the same, and
    so are the checkpoints.

    Args:
        enable (bool): Whether to do so. Default: True.
    """

    # before EMAHook copies the model
    priority = 'VERY_HIGH'

    def __init__(self, enable: bool = True) -> None:
        self.enable = enable

    def before_run(self, runner: Runner) -> None:
        """Change the layout of the model's weights."""
        if self.enable:
            runner.model.to(memory_format=torch.channels_last)
