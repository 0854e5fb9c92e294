"""Memory allocation on CPUs."""

import ctypes
import platform

from mmengine.device import get_device
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

#: Parameters of glibc's ``mallopt`` and their values: never trim the heap,
#: grow it by 64 MiB, never serve a request by ``mmap``.
MALLOC_OPTIONS = {
    'M_TRIM_THRESHOLD': (-1, -1),
    'M_TOP_PAD': (-2, 64 * 2**20),
    'M_MMAP_MAX': (-4, 0),
}


@HOOKS.register_module()
class ReuseMemoryHook(Hook):
    """Let a training step reuse the memory of the one before.

    PyTorch has a caching allocator for GPUs alone. On CPUs glibc gives each
    large tensor back to the operating system, which hands out the same pages
    again, zeroed, one page fault every 4 KiB. With this hook the process
    keeps its peak memory until it ends. It does nothing on GPUs and without
    glibc.

    Args:
        enable (bool): Whether to do so. Default: True.
    """

    priority = 'VERY_HIGH'

    def __init__(self, enable: bool = True) -> None:
        self.enable = enable

    def before_run(self, runner: Runner) -> None:
        """Set glibc's options for this process."""
        if not self.enable or get_device() != 'cpu' or platform.libc_ver()[0] != 'glibc':
            return
        mallopt = ctypes.CDLL(None).mallopt
        for name, (option, value) in MALLOC_OPTIONS.items():
            if not mallopt(option, value):
                runner.logger.warning(f'glibc refused {name}={value}')
