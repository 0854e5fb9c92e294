"""What ``tools/train.py`` and ``tools/test.py`` do.

The flags and their merging into the config are those of MMPose's own tools.
Added is that whatever the user gave is looked at first, so that a wrong path
or the checkpoint of another model ends in one line instead of a stack trace
from deep inside, and that machines without CUDA are served.
"""
import argparse
import importlib.util
import os.path as osp
import re
from types import ModuleType
from typing import Iterator, Tuple

import mmengine
import torch
from mmengine.config import Config
from mmengine.dist import is_distributed, is_main_process
from mmengine.registry import init_default_scope
from mmengine.runner import Runner, find_latest_checkpoint
from mmengine.runner.checkpoint import CheckpointLoader
from mmengine.utils import get_installed_path
from mmpose.registry import MODELS

from .errors import InputError, fail


def mmpose_tool(name: str) -> ModuleType:
    """Import one of the tools that come inside the MMPose package.

    Args:
        name (str): ``'train'`` or ``'test'``.
    """
    path = osp.join(
        get_installed_path('mmpose'), '.mim', 'tools', f'{name}.py')
    spec = importlib.util.spec_from_file_location(f'mmpose_{name}', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load_config(path: str) -> Config:
    """Read a config file.

    Args:
        path (str): Python config file.

    Raises:
        InputError: If the file is missing or cannot be read as a config.
    """
    if not osp.isfile(path):
        raise InputError(f'config {path} does not exist')
    try:
        return Config.fromfile(path)
    except Exception as error:  # a config is code: it can raise anything
        raise InputError(f'config {path} cannot be read: '
                         f'{type(error).__name__}: {error}') from error


def merge_args(cfg: Config, args: argparse.Namespace,
               tool: ModuleType) -> Config:
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
        raise InputError(f'the options do not fit {args.config}: '
                         f'{error}') from error


def input_shape(cfg: Config) -> Tuple[int, int]:
    """Return the height and width of the images that a model takes.

    Args:
        cfg (Config): Config whose ``model.head.decoder`` is a codec.

    Raises:
        InputError: If it is not.
    """
    codec = cfg.get('model', {}).get('head', {}).get('decoder', {})
    if 'input_size' not in codec:
        raise InputError(f'config {cfg.filename} has no '
                         'model.head.decoder.input_size; give --shape')
    width, height = codec['input_size']
    return height, width


def data_paths(dataset: dict) -> Iterator[Tuple[str, str]]:
    """List the files and folders that a dataset needs.

    Args:
        dataset (dict): Config of an MMPose dataset, or of a wrapper with
            ``dataset`` or ``datasets`` inside.

    Yields:
        tuple[str, str]: The config's key, and the path as the dataset will
        join it with ``data_root``.
    """
    for inner in [dataset.get('dataset'), *dataset.get('datasets', [])]:
        if inner is not None:
            yield from data_paths(inner)
    root = dataset.get('data_root') or ''
    if dataset.get('ann_file'):
        yield 'ann_file', osp.join(root, dataset['ann_file'])
    for key in ('bbox_file', 'headbox_file'):
        if dataset.get(key):
            yield key, dataset[key]
    for key, prefix in (dataset.get('data_prefix') or {}).items():
        yield f'data_prefix.{key}', osp.join(root, prefix)


def check_data(cfg: Config, *splits: str) -> None:
    """Check that the data of ``splits`` are where the config says.

    Args:
        cfg (Config): The config.
        splits (str): Any of ``'train'``, ``'val'`` and ``'test'``.

    Raises:
        InputError: If a local file or folder is missing.
    """
    for split in splits:
        loader = cfg.get(f'{split}_dataloader')
        if loader is None:
            continue
        for key, path in data_paths(loader['dataset']):
            if '://' in path or osp.exists(path):
                continue
            option = f'{split}_dataloader.dataset.{key}'
            hint = f'set {option} with --cfg-options'
            if key == 'bbox_file':
                hint += f', or use the ground-truth boxes: {option}=None'
            raise InputError(f'{path} does not exist; put it there or {hint}')
        evaluators = cfg.get(f'{split}_evaluator') or []
        if isinstance(evaluators, dict):
            evaluators = [evaluators]
        for evaluator in evaluators:
            path = evaluator.get('ann_file') or ''
            if path and '://' not in path and not osp.exists(path):
                raise InputError(
                    f'{path} does not exist; put it there or set '
                    f'{split}_evaluator.ann_file with --cfg-options')


def load_checkpoint(path: str) -> dict:
    """Load a checkpoint.

    Args:
        path (str): File or URL.

    Raises:
        InputError: If it is missing or is not a checkpoint.
    """
    try:
        checkpoint = CheckpointLoader.load_checkpoint(
            path, map_location='cpu', logger='silent')
    except FileNotFoundError:
        raise InputError(f'checkpoint {path} does not exist') from None
    except Exception as error:  # a broken pickle can raise anything
        raise InputError(f'checkpoint {path} cannot be read: '
                         f'{type(error).__name__}: {error}') from error
    if not isinstance(checkpoint, dict):
        raise InputError(f'checkpoint {path} holds no state dict')
    return checkpoint


def check_checkpoint(path: str, cfg: Config, strict: bool = True) -> None:
    """Check that a checkpoint fits a config's model.

    MMEngine itself only warns and goes on with random weights.

    Args:
        path (str): File or URL.
        cfg (Config): The config.
        strict (bool): Whether every parameter must fit. Otherwise, as for
            fine-tuning, one is enough. Default: True.

    Raises:
        InputError: If the checkpoint is missing, is not a checkpoint or
            belongs to another model.
    """
    checkpoint = load_checkpoint(path)
    given = {
        re.sub(r'^module\.', '', key): tuple(value.shape)
        for key, value in checkpoint.get('state_dict', checkpoint).items()
        if isinstance(value, torch.Tensor)
    }
    init_default_scope(cfg.get('default_scope', 'mmpose'))
    wanted = {
        key: tuple(value.shape)
        for key, value in MODELS.build(cfg.model).state_dict().items()
        if not key.endswith('num_batches_tracked')
    }
    given = {
        key: shape
        for key, shape in given.items()
        if not key.endswith('num_batches_tracked')
    }
    missing = wanted.keys() - given.keys()
    unexpected = given.keys() - wanted.keys()
    common = wanted.keys() & given.keys()
    misfits = {key for key in common if wanted[key] != given[key]}
    if (missing or unexpected or misfits) if strict else common == misfits:
        example = min(missing or unexpected or misfits)
        raise InputError(
            f'checkpoint {path} is of another model than the config: of its '
            f'{len(wanted)} keys {len(missing)} missing and {len(misfits)} of '
            f'another shape, {len(unexpected)} unexpected (e.g. {example})')


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
        raise InputError(f'--launcher {cfg.launcher} needs CUDA; on CPUs use '
                         '--launcher pytorch (tools/dist_*.sh)')
    if not is_distributed():
        torch.distributed.init_process_group('gloo')
    wrapper = cfg.get('model_wrapper_cfg') or dict(broadcast_buffers=False)
    cfg.model_wrapper_cfg = dict(wrapper, device_ids=None)


def train_config(args: argparse.Namespace, tool: ModuleType) -> Config:
    """Return the checked config of a training run.

    Args:
        args (Namespace): From ``tool.parse_args()``.
        tool (module): MMPose's ``tools/train.py``.

    Raises:
        InputError: If something that the user named cannot be used.
    """
    cfg = load_config(args.config)
    if args.amp and not torch.cuda.is_available():
        raise InputError('--amp needs CUDA, which this machine does not have; '
                         'leave it out')
    cfg = merge_args(cfg, args, tool)
    check_data(cfg, 'train', 'val')
    checkpoint = cfg.get('load_from')
    if checkpoint is None and cfg.get('resume'):
        checkpoint = find_latest_checkpoint(cfg.work_dir)
    if checkpoint is not None:
        check_checkpoint(checkpoint, cfg, strict=cfg.get('resume', False))
    return cfg


def train() -> None:
    """Run ``tools/train.py``."""
    tool = mmpose_tool('train')
    args = tool.parse_args()
    try:
        cfg = train_config(args, tool)
        prepare_launcher(cfg)
    except InputError as error:
        fail(error)
    runner = Runner.from_cfg(cfg)
    runner.train()
    if is_main_process():
        best = runner.message_hub.runtime_info.get('best_ckpt')
        print('best checkpoint:' if best else 'checkpoints:', best
              or runner.work_dir)


def test_config(args: argparse.Namespace, tool: ModuleType) -> Config:
    """Return the checked config of a test run.

    Args:
        args (Namespace): From ``tool.parse_args()``.
        tool (module): MMPose's ``tools/test.py``.

    Raises:
        InputError: If something that the user named cannot be used.
    """
    cfg = merge_args(load_config(args.config), args, tool)
    check_data(cfg, 'test')
    check_checkpoint(args.checkpoint, cfg)
    return cfg


def test() -> None:
    """Run ``tools/test.py``."""
    tool = mmpose_tool('test')
    args = tool.parse_args()
    try:
        cfg = test_config(args, tool)
        prepare_launcher(cfg)
    except InputError as error:
        fail(error)
    metrics = Runner.from_cfg(cfg).test()
    if is_main_process():
        if args.out:
            mmengine.dump(metrics, args.out)
        for name, value in metrics.items():
            print(f'{name}: {value:.4f}')
