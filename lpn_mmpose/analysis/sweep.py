"""What of the OpenMMLab packages imports and builds on the installed stack."""

import importlib
import pkgutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpose.registry import MODELS


def import_failures(packages: Iterable[str]) -> Iterator[tuple[str, str | None]]:
    """Import every module of some packages.

    Args:
        packages (Iterable[str]): Their names.

    Yields:
        tuple[str, str | None]: A module's name, and what it raised if it did.
    """
    for package in packages:
        path = importlib.import_module(package).__path__
        # walk_packages swallows what a subpackage raises; it is imported here
        for module in pkgutil.walk_packages(path, f'{package}.', onerror=lambda name: None):
            try:
                importlib.import_module(module.name)
            except Exception as error:  # a module can raise anything
                yield module.name, f'{type(error).__name__}: {error}'
            else:
                yield module.name, None


def build_failures(configs: Iterable[str | Path]) -> Iterator[tuple[str, str | None]]:
    """Build the model of each config.

    Models are built without memory for their weights where they can be, and
    once where configs share a model.

    Args:
        configs (Iterable[str | Path]): Paths.

    Yields:
        tuple[str, str | None]: A config's path, and what its model raised if
        it did.
    """
    init_default_scope('mmpose')
    outcomes = {}
    for path in configs:
        try:
            model = Config.fromfile(path).model
            key = repr(model)
            if key not in outcomes:
                outcomes[key] = _raised(model)
            yield str(path), outcomes[key]
        except Exception as error:  # of the config itself
            yield str(path), f'{type(error).__name__}: {error}'


def _raised(model: dict) -> str | None:
    """What building a model raises.

    Some initialise by values, which a tensor without memory does not have.
    """
    for device in ('meta', 'cpu'):
        try:
            with torch.device(device):
                MODELS.build(model)
            return None
        except Exception as error:  # a model can raise anything
            message = f'{type(error).__name__}: {error}'
            if 'meta tensor' not in message:
                break
    return message
