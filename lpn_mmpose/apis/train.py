"""What ``tools/train.py`` does.

The flags and their merging into the config are those of MMPose's own tool.
Added is that whatever the user gave is checked first, so that a wrong path
or the checkpoint of another model ends in one line instead of a stack trace
from deep inside, and that machines without CUDA are served.
"""

import argparse
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import torch
from mmengine.config import Config
from mmengine.dist import is_distributed, is_main_process
from mmengine.logging import print_log
from mmengine.runner import Runner

from ..datasets.data_check import require_data
from ..datasets.settings_check import require_fit
from ..engine.autocast_optim_wrapper import bfloat16_is_fast
from ..errors import InputError, fail
from ..utils.checkpoint import check_checkpoint, find_resumable
from ..utils.config import load_config
from ..utils.work_dir_lock import lock_work_dir
from .mmpose_tools import merge_args, mmpose_tool, prepare_launcher


def use_bfloat16(cfg: Config) -> None:
    """Train in bfloat16, also on CPUs.

    Args:
        cfg (Config): Config with ``optim_wrapper``.

    Raises:
        InputError: If it has an optimizer wrapper of another kind.
    """
    wrapper = cfg.optim_wrapper.get('type', 'OptimWrapper')
    if wrapper not in ('OptimWrapper', 'AutocastOptimWrapper'):
        raise InputError(f'--amp does not go with optim_wrapper.type={wrapper} without CUDA')
    cfg.optim_wrapper.update(type='AutocastOptimWrapper', dtype='bfloat16')
    if not bfloat16_is_fast():
        print_log(
            'this machine emulates bfloat16: training is faster without --amp',
            'current',
            logging.WARNING,
        )


def check_compiler(cfg: Config) -> None:
    """Check that ``compile=True`` can work.

    Args:
        cfg (Config): The config.

    Raises:
        InputError: If torch.compile would need a C++ compiler and there is
            none.
    """
    options = cfg.get('compile')
    backend = 'inductor'
    if isinstance(options, dict):
        backend = options.get('backend', backend)
    if not options or backend != 'inductor' or torch.cuda.is_available():
        return
    compiler = os.environ.get('CXX', 'g++')
    if shutil.which(compiler) is None:
        raise InputError(
            f'compile=True needs a C++ compiler, and {compiler} '
            'is not there; install it, name another one in CXX, '
            'or leave compile out'
        )


def train_config(args: argparse.Namespace, tool: ModuleType) -> Config:
    """Return the checked config of a training run.

    Args:
        args (Namespace): From ``tool.parse_args()``.
        tool (module): MMPose's ``tools/train.py``.

    Raises:
        InputError: If something that the user named cannot be used.
    """
    cfg = load_config(args.config)
    begin_with = cfg.get('load_from')  # which --resume takes away
    wrapper = cfg.get('optim_wrapper', {}).get('type', 'OptimWrapper')
    bfloat16 = args.amp and (wrapper == 'AutocastOptimWrapper' or not torch.cuda.is_available())
    args.amp = args.amp and not bfloat16  # else MMEngine's, with CUDA
    cfg = merge_args(cfg, args, tool)
    if bfloat16:
        use_bfloat16(cfg)
    require_data(cfg, 'train', 'val')
    require_fit(cfg, 'train', 'val')
    check_compiler(cfg)
    hooks = [*(cfg.get('default_hooks') or {}).values(), *(cfg.get('custom_hooks') or [])]
    if not any(hook and hook.get('type') == 'StopHook' for hook in hooks):
        cfg.default_hooks = dict(cfg.get('default_hooks') or {}, stop=dict(type='StopHook'))
    if cfg.get('resume') and cfg.get('load_from') is None:
        cfg.load_from = find_resumable(cfg.work_dir)
        if cfg.load_from is None and begin_with is not None:
            print_log(f'{cfg.work_dir} has no checkpoint: begins with {begin_with}', 'current')
            cfg.resume, cfg.load_from = False, begin_with
    if cfg.get('load_from') is not None:
        check_checkpoint(cfg.load_from, cfg, strict=cfg.get('resume', False))
    return cfg


#: What PyTorch says when another process of the run is gone.
LOST_PROCESS = ('gloo', 'connection closed', 'connection reset', 'broken pipe', 'nccl')


@contextmanager
def faults_in_one_line() -> Iterator[None]:
    """End in one line and with status 1 when the machine, not the code, is at fault."""
    try:
        yield
    except InputError as error:
        fail(error)
    except RuntimeError as error:
        text = str(error)
        if 'DataLoader worker' in text and ('killed' in text or 'exited' in text):
            fail(
                f'{text.splitlines()[0]} Killed from outside, often for want of memory (fewer '
                'train_dataloader.num_workers); go on with --resume',
                status=1,
            )
        if is_distributed() and any(sign in text.lower() for sign in LOST_PROCESS):
            fail(
                f'another process of this run is gone ({text.splitlines()[0]}); '
                'start all again with --resume',
                status=1,
            )
        raise


def prepare_work_dir(cfg: Config) -> None:
    """Take the work directory for this run, in its first process.

    Args:
        cfg (Config): Config with ``work_dir``.

    Raises:
        InputError: If another run has it, or it cannot be written.
    """
    if os.environ.get('RANK', os.environ.get('SLURM_PROCID', '0')) == '0':
        lock_work_dir(cfg.work_dir)


def train() -> None:
    """Run ``tools/train.py``."""
    tool = mmpose_tool('train')
    args = tool.parse_args()
    with faults_in_one_line():
        cfg = train_config(args, tool)
        prepare_work_dir(cfg)
        prepare_launcher(cfg)
        runner = Runner.from_cfg(cfg)
        runner.train()
    if is_main_process():
        best = runner.message_hub.runtime_info.get('best_ckpt')
        print('best checkpoint:' if best else 'checkpoints:', best or runner.work_dir)
