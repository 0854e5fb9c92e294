"""What ``tools/train.py`` and ``tools/test.py`` do.

The flags and their merging into the config are those of MMPose's own tools.
Added is that whatever the user gave is looked at first, so that a wrong path
or the checkpoint of another model ends in one line instead of a stack trace
from deep inside, and that machines without CUDA are served.
"""

import argparse
import importlib.util
import logging
import os
import os.path as osp
import re
import shutil
from collections.abc import Iterator, Mapping
from glob import escape as glob_escape
from glob import glob
from types import ModuleType
from typing import (
    Any,
    NamedTuple,
)

import mmengine
import torch
from mmengine.config import Config
from mmengine.dist import is_distributed, is_main_process
from mmengine.logging import print_log
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmengine.runner.checkpoint import CheckpointLoader
from mmengine.utils import get_installed_path, import_modules_from_strings
from mmpose.registry import MODELS

from .deploy.testing import use_exported
from .engine import bfloat16_is_fast
from .errors import InputError, fail
from .runtime.engines import SUFFIXES


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
        raise InputError(
            f'config {path} cannot be read: {type(error).__name__}: {error}'
        ) from error


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


def input_shape(cfg: Config) -> tuple[int, int]:
    """Return the height and width of the images that a model takes.

    Args:
        cfg (Config): Config whose ``model.head.decoder`` is a codec.

    Raises:
        InputError: If it is not.
    """
    codec = cfg.get('model', {}).get('head', {}).get('decoder', {})
    if 'input_size' not in codec:
        raise InputError(
            f'config {cfg.filename} has no model.head.decoder.input_size; give --shape'
        )
    width, height = codec['input_size']
    return height, width


def set_input_size(cfg: Config, size: tuple[int, int]) -> None:
    """Let the config of a top-down heatmap model take images of another size.

    Args:
        cfg (Config): The config; its codec and pipelines are changed.
        size (tuple[int, int]): The size (w, h); heatmaps keep their stride.
    """
    codec = cfg.model.head.decoder
    strides = [image // heatmap for image, heatmap in zip(codec.input_size, codec.heatmap_size)]
    codec.update(
        input_size=tuple(size),
        heatmap_size=tuple(side // stride for side, stride in zip(size, strides)),
    )
    for split in ('train', 'val', 'test'):
        for step in cfg[f'{split}_dataloader'].dataset.pipeline:
            if step['type'] == 'TopdownAffine':
                step['input_size'] = tuple(size)
            elif step['type'] == 'GenerateTarget':
                step['encoder'] = codec


def data_paths(dataset: dict) -> Iterator[tuple[str, str]]:
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


def split_paths(cfg: Config, split: str) -> Iterator[tuple[str, str]]:
    """List the files and folders that a split of a config needs.

    Args:
        cfg (Config): The config.
        split (str): ``'train'``, ``'val'`` or ``'test'``.

    Yields:
        tuple[str, str]: The config's key, and the path.
    """
    loader = cfg.get(f'{split}_dataloader')
    if loader is None:
        return
    for key, path in data_paths(loader['dataset']):
        yield f'{split}_dataloader.dataset.{key}', path
    evaluators = cfg.get(f'{split}_evaluator') or []
    if isinstance(evaluators, dict):
        evaluators = [evaluators]
    for evaluator in evaluators:
        if evaluator.get('ann_file'):
            yield f'{split}_evaluator.ann_file', evaluator['ann_file']


def check_data(cfg: Config, *splits: str) -> None:
    """Check that the data of ``splits`` are where the config says.

    Args:
        cfg (Config): The config.
        splits (str): Any of ``'train'``, ``'val'`` and ``'test'``.

    Raises:
        InputError: If a local file or folder is missing.
    """
    for split in splits:
        for key, path in split_paths(cfg, split):
            if '://' in path or osp.exists(path):
                continue
            hint = f'set {key} with --cfg-options'
            if key.endswith('bbox_file'):
                hint += f', or use the ground-truth boxes: {key}=None'
            raise InputError(f'{path} does not exist; put it there or {hint}')


def load_checkpoint(path: str) -> dict:
    """Load a checkpoint.

    Args:
        path (str): File or URL.

    Raises:
        InputError: If it is missing or is not a checkpoint.
    """
    try:
        checkpoint = CheckpointLoader.load_checkpoint(path, map_location='cpu', logger='silent')
    except FileNotFoundError:
        raise InputError(f'checkpoint {path} does not exist') from None
    except Exception as error:  # a broken pickle can raise anything
        raise InputError(
            f'checkpoint {path} cannot be read: {type(error).__name__}: {error}'
        ) from error
    if not isinstance(checkpoint, dict):
        raise InputError(f'checkpoint {path} holds no state dict')
    return checkpoint


class KeyMismatch(NamedTuple):
    """How a state dict differs from what a model takes.

    Attributes:
        wanted (int): Number of the model's keys.
        missing (list[str]): Those that the state dict lacks.
        misshapen (list[str]): Those that have another shape in it.
        unexpected (list[str]): Keys that the model does not have.
    """

    wanted: int
    missing: list[str]
    misshapen: list[str]
    unexpected: list[str]


def compare_keys(state_dict: Mapping[str, Any], cfg: Config) -> KeyMismatch:
    """Compare a state dict with the model of a config.

    Batch norms' ``num_batches_tracked`` do not count: evaluation does without
    them, and PyTorch before 0.4.1 did not write them.

    Args:
        state_dict (Mapping): Weights, with or without ``module.`` before the
            keys.
        cfg (Config): The config.
    """
    given = {
        re.sub(r'^module\.', '', key): tuple(value.shape)
        for key, value in state_dict.items()
        if isinstance(value, torch.Tensor)
    }
    if cfg.get('custom_imports'):
        import_modules_from_strings(**cfg.custom_imports)
    init_default_scope(cfg.get('default_scope', 'mmpose'))
    with torch.device('meta'):  # shapes alone
        model = MODELS.build(cfg.model)
    wanted, given = (
        {key: shape for key, shape in shapes.items() if not key.endswith('num_batches_tracked')}
        for shapes in ({k: tuple(v.shape) for k, v in model.state_dict().items()}, given)
    )
    return KeyMismatch(
        wanted=len(wanted),
        missing=sorted(wanted.keys() - given.keys()),
        misshapen=sorted(key for key in wanted.keys() & given.keys() if wanted[key] != given[key]),
        unexpected=sorted(given.keys() - wanted.keys()),
    )


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
    wanted, missing, misshapen, unexpected = compare_keys(
        checkpoint.get('state_dict', checkpoint), cfg
    )
    wrong = missing or unexpected or misshapen
    fits = wanted > len(missing) + len(misshapen)
    if wrong if strict else not fits:
        raise InputError(
            f'checkpoint {path} is of another model than the config: of its '
            f'{wanted} keys {len(missing)} missing and {len(misshapen)} of '
            f'another shape, {len(unexpected)} unexpected (e.g. {wrong[0]})'
        )


def checkpoints(work_dir: str) -> list[str]:
    """List what a run can be resumed from, the newest first.

    Args:
        work_dir (str): Work directory of the run.
    """
    numbered = {}
    for path in glob(osp.join(glob_escape(work_dir), '*_*.pth')):
        match = re.fullmatch(r'(?:epoch|iter)_(\d+)\.pth', osp.basename(path))
        if match:
            numbered[path] = int(match[1])
    paths = sorted(numbered, key=numbered.get, reverse=True)
    pointer = osp.join(work_dir, 'last_checkpoint')
    if osp.isfile(pointer):
        with open(pointer) as file:
            last = file.read().strip()
        if last and osp.isfile(last):
            paths = [last] + [p for p in paths if not osp.samefile(p, last)]
    return paths


def find_resumable(work_dir: str) -> str | None:
    """Find the newest checkpoint of a run that can be read.

    A process killed while it wrote may have left a broken file or a pointer
    to nothing; MMEngine would stop there.

    Args:
        work_dir (str): Work directory of the run.

    Returns:
        str or None: The file; None if there is none to resume from.

    Raises:
        InputError: If there are checkpoints and none of them can be read.
    """
    errors = []
    for path in checkpoints(work_dir):
        try:
            load_checkpoint(path)
        except InputError as error:
            errors.append(error)
            print_log(f'{error}; trying an older one', 'current', logging.WARNING)
        else:
            return path
    if errors:
        raise InputError(f'no checkpoint in {work_dir} can be read, the newest: {errors[0]}')
    return None


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
    wrapper = cfg.get('optim_wrapper', {}).get('type', 'OptimWrapper')
    bfloat16 = args.amp and (wrapper == 'AutocastOptimWrapper' or not torch.cuda.is_available())
    args.amp = args.amp and not bfloat16  # else MMEngine's, with CUDA
    cfg = merge_args(cfg, args, tool)
    if bfloat16:
        use_bfloat16(cfg)
    check_data(cfg, 'train', 'val')
    check_compiler(cfg)
    if cfg.get('resume') and cfg.get('load_from') is None:
        cfg.load_from = find_resumable(cfg.work_dir)
    if cfg.get('load_from') is not None:
        check_checkpoint(cfg.load_from, cfg, strict=cfg.get('resume', False))
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
        print('best checkpoint:' if best else 'checkpoints:', best or runner.work_dir)


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
    if args.checkpoint.endswith(tuple(SUFFIXES)):
        use_exported(cfg, args.checkpoint)
    else:
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
