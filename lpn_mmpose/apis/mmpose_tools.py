"""The tools that come with MMPose: their flags, options and launchers."""

import argparse
import importlib.util
import os.path as osp
from types import ModuleType

import torch
from mmengine.config import Config
from mmengine.dist import is_distributed
from mmengine.utils import get_installed_path

from ..errors import InputError


def mmpose_tool(name: str) -> ModuleType:
    """Import one of the tools that come inside the MMPose package.

    Args:
        name (str): ``'train'`` or ``'test'``.
    """
    path = osp.join(get_installed_path('mmpose'), '.mim', 'tools', f'{name}.py')
    spec = importlib.util.spec_from_file_location(f'mmpose_{name}', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def merge_args(cfg: Config, args: argparse.Namespace, tool: ModuleType) -> Config:
    """Merge the command line into the config as MMPose's tool does.

    Args:
        cfg (Config): The config.
        args (Namespace): From ``tool.parse_args()``.
        tool (module): From :func:`mmpose_tool`.

    Raises:
        InputError: If an option does not fit the config.
    """
    try:
        return tool.merge_args(cfg, args)
    except (AssertionError, KeyError, TypeError, ValueError) as error:
        raise InputError(f'the options do not fit {args.config}: {error}') from error


def prepare_launcher(cfg: Config) -> None:
    """Let torchrun's processes train on CPUs where CUDA is absent.

    MMEngine's initialisation and its default model wrapper always name a CUDA
    device.

    Args:
        cfg (Config): Config with ``launcher``.

    Raises:
        InputError: If the launcher needs CUDA and there is none.
    """
    if cfg.launcher == 'none' or torch.cuda.is_available():
        return
    if cfg.launcher != 'pytorch':
        raise InputError(
            f'--launcher {cfg.launcher} needs CUDA; on CPUs use '
            '--launcher pytorch (tools/dist_*.sh)'
        )
    if not is_distributed():
        torch.distributed.init_process_group('gloo')
    wrapper = cfg.get('model_wrapper_cfg') or dict(broadcast_buffers=False)
    cfg.model_wrapper_cfg = dict(wrapper, device_ids=None)
