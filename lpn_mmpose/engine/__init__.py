"""What training needs beyond MMEngine's own hooks and wrappers."""

from .atomic_backend import AtomicLocalBackend
from .autocast_optim_wrapper import AutocastOptimWrapper
from .channels_last_hook import ChannelsLastHook
from .reuse_memory_hook import ReuseMemoryHook
from .sample_seed_hook import SampleSeedHook
from .stop_hook import StopHook

__all__ = [
    'AtomicLocalBackend',
    'AutocastOptimWrapper',
    'ChannelsLastHook',
    'ReuseMemoryHook',
    'SampleSeedHook',
    'StopHook',
]
