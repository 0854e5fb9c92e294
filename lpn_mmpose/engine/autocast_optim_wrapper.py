"""Mixed precision without a loss scaler, on CUDA and on CPUs."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.device import get_device
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from mmengine.runner.amp import autocast
from torch import nn


def bfloat16_is_fast() -> bool:
    """Whether the device that MMEngine trains on computes in bfloat16.

    A CPU without such instructions emulates them: LPN-50 then trains ten
    times slower than in float32.
    """
    if get_device() == 'cuda':
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(OptimWrapper):
    """Train in bfloat16 by autocast.

    :class:`mmengine.optim.AmpOptimWrapper` refuses machines without CUDA and
    always brings a gradient scaler, which bfloat16, with the exponents of
    float32, does not need. For float16 on CUDA use MMEngine's.

    Args:
        dtype (str): ``'bfloat16'``; or ``'auto'``, which is bfloat16 where
            the device computes in it and float32 elsewhere. Default:
            ``'auto'``.
        **kwargs: Those of :class:`mmengine.optim.OptimWrapper`.

    Raises:
        ValueError: If ``dtype`` is neither.
    """

    def __init__(self, dtype: str = 'auto', **kwargs) -> None:
        super().__init__(**kwargs)
        if dtype not in ('auto', 'bfloat16'):
            raise ValueError(
                f"dtype must be 'auto' or 'bfloat16', got "
                f'{dtype!r}; for float16 use AmpOptimWrapper'
            )
        self.enabled = dtype == 'bfloat16' or bfloat16_is_fast()
        print_log(
            'training in '
            f'{"bfloat16 by autocast" if self.enabled else "float32"} on '
            f'{get_device()}',
            'current',
        )

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Run the forward pass of ``model`` under autocast."""
        with super().optim_context(model), autocast(enabled=self.enabled, dtype=torch.bfloat16):
            yield
