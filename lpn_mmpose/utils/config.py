"""Reading configs."""

import argparse
import os.path as osp
from collections.abc import Iterable, Iterator
from typing import Any

from mmengine.config import Config, DictAction
from mmengine.registry import init_default_scope
from mmengine.utils import import_modules_from_strings

from ..errors import InputError


def add_cfg_options(parser: argparse.ArgumentParser) -> None:
    """Add the flag ``--cfg-options``, as MMPose's tools have it."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        default={},
        help='override settings of the config, key=value',
    )


def load_config(path: str, options: dict[str, Any] | None = None) -> Config:
    """Read a config file.

    Args:
        path (str): Python config file.
        options (dict, optional): Settings to override, from
            ``--cfg-options``. Default: None.

    Raises:
        InputError: If the file is missing or cannot be read as a config.
    """
    if '://' in path:
        raise InputError(
            f'config {path} is a URL, and a config runs code: download it, read it, give the file'
        )
    if not osp.isfile(path):
        raise InputError(f'config {path} does not exist')
    try:
        cfg = Config.fromfile(path)
    except Exception as error:  # a config is code: it can raise anything
        raise InputError(
            f'config {path} cannot be read: {type(error).__name__}: {error}'
        ) from error
    cfg.merge_from_dict(options or {})
    return cfg


def register_modules(cfg: Config) -> None:
    """Do a config's ``custom_imports`` and set its default scope."""
    if cfg.get('custom_imports'):
        import_modules_from_strings(**cfg.custom_imports)
    init_default_scope(cfg.get('default_scope', 'mmpose'))


def evaluator_configs(cfg: Config, split: str) -> list[dict]:
    """Return the metrics of a split, which a config may give as one or a list."""
    evaluators = cfg.get(f'{split}_evaluator') or []
    return [evaluators] if isinstance(evaluators, dict) else list(evaluators)


def innermost_datasets(dataset: dict) -> Iterator[dict]:
    """List the configs of the datasets inside wrappers.

    Args:
        dataset (dict): Config of a dataset, or of a wrapper with ``dataset``
            or ``datasets`` inside.
    """
    inner: Iterable[dict] = dataset.get('datasets', [])
    if dataset.get('dataset') is not None:
        inner = [dataset['dataset'], *inner]
    if not inner:
        yield dataset
    for other in inner:
        yield from innermost_datasets(other)


def _pipeline(dataset: dict) -> list[dict]:
    """Return the steps inside a wrapper, of its first dataset, and its own after them."""
    inner = [dataset.get('dataset'), *dataset.get('datasets', [])]
    first = next(filter(None, inner), None)
    return [*(_pipeline(first) if first else []), *(dataset.get('pipeline') or [])]


def test_pipeline(cfg: Config) -> list[dict]:
    """Return the pipeline of a config's test data, empty if it has none."""
    dataset = (cfg.get('test_dataloader') or {}).get('dataset')
    if dataset:
        return _pipeline(dataset)
    return cfg.get('test_pipeline') or []


def image_loader(pipeline: list[dict] | None) -> dict:
    """Return the config of what loads a pipeline's images."""
    steps = [step for step in pipeline or () if step['type'] == 'LoadImage']
    return dict(steps[0]) if steps else dict(type='LoadImage')


def ignores_orientation(pipeline: list[dict] | None) -> bool:
    """Tell whether a pipeline takes images as the camera stored them, whatever EXIF says."""
    return image_loader(pipeline).get('color_type', '').endswith('_ignore_orientation')


def input_size(cfg: Config) -> tuple[int, int]:
    """Return the size (w, h) of the images that a config's model takes.

    Args:
        cfg (Config): Config of a pose estimator whose head has a codec, or of
            a detector.

    Raises:
        InputError: If the config does not say.
    """
    model = cfg.get('model') or {}
    if 'bbox_head' in model:
        sizes = [step['scale'] for step in test_pipeline(cfg) if step['type'] == 'Resize']
    else:
        codec = (model.get('head') or {}).get('decoder') or {}
        sizes = [codec['input_size']] if 'input_size' in codec else []
    if not sizes:
        raise InputError(
            f'config {cfg.filename} does not say how large its images are '
            '(model.head.decoder.input_size, or a Resize in the test pipeline of a detector)'
        )
    width, height = sizes[0]
    return width, height


def set_input_size(cfg: Config, input_size: tuple[int, int]) -> None:
    """Let the config of a top-down heatmap model take images of another size.

    Args:
        cfg (Config): The config; its codec and pipelines are changed.
        input_size (tuple[int, int]): The size (w, h); heatmaps keep their
            stride.
    """
    codec = cfg.model.head.decoder
    strides = [image // heatmap for image, heatmap in zip(codec.input_size, codec.heatmap_size)]
    codec.update(
        input_size=tuple(input_size),
        heatmap_size=tuple(side // stride for side, stride in zip(input_size, strides)),
    )
    for split in ('train', 'val', 'test'):
        for step in cfg[f'{split}_dataloader'].dataset.pipeline:
            if step['type'] == 'TopdownAffine':
                step['input_size'] = tuple(input_size)
            elif step['type'] == 'GenerateTarget':
                step['encoder'] = codec
