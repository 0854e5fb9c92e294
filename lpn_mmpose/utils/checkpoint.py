"""Reading checkpoints, and whether they fit a config."""

import logging
import os.path as osp
import re
from collections.abc import Mapping
from glob import escape as glob_escape
from glob import glob
from typing import Any, NamedTuple

import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.runner.checkpoint import CheckpointLoader
from mmpose.registry import MODELS

from ..errors import InputError
from .config import register_modules


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
        if isinstance(value, torch.Tensor) and not key.endswith('num_batches_tracked')
    }
    register_modules(cfg)
    with torch.device('meta'):  # shapes alone
        model = MODELS.build(cfg.model)
    wanted = {
        key: tuple(value.shape)
        for key, value in model.state_dict().items()
        if not key.endswith('num_batches_tracked')
    }
    return KeyMismatch(
        wanted=len(wanted),
        missing=sorted(wanted.keys() - given.keys()),
        misshapen=sorted(k for k in wanted.keys() & given.keys() if wanted[k] != given[k]),
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
    fits_nowhere = wanted == len(missing) + len(misshapen)
    if wrong and (strict or fits_nowhere):
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
