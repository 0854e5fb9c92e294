"""Whether a config's metainfo, model, codec and pipelines fit each other.

MMPose compares none of them: sigmas of another length stop the evaluation
after the first epoch, a one-way ``swap`` trains on mirrored images with wrong
joints, and a heatmap size of another model stops in the loss.
"""

import os
import os.path as osp
from collections.abc import Iterator, Mapping
from pathlib import PurePath

import torch
from mmengine.config import Config
from mmpose.models.heads import HeatmapHead
from mmpose.registry import DATASETS, KEYPOINT_CODECS, MODELS

from ..errors import InputError
from ..utils.config import innermost_datasets, register_modules

#: Where MMPose keeps its metainfo files; it finds these wherever it runs.
MMPOSE_METAINFO = ('configs', '_base_', 'datasets')


def _raw_metainfo(dataset: Mapping) -> tuple[str, Mapping]:
    """Return the key that a dataset's metainfo is under, and the metainfo.

    Raises:
        InputError: If a file that it names is missing or unreadable.
    """
    given = dataset.get('metainfo')
    cls = DATASETS.get(dataset['type'])
    if cls is None:
        raise InputError(f'type: {dataset["type"]} is no dataset that MMPose or we know')
    raw = given or getattr(cls, 'METAINFO', None) or {}
    key = 'metainfo' if given else f'type={dataset["type"]}: its metainfo'
    path = raw.get('from_file')
    if path is None:
        return key, raw
    if not osp.isfile(path):
        # MMPose takes any file of its own that has this base name
        import mmpose

        theirs = osp.join(
            osp.dirname(mmpose.__file__), '.mim', *MMPOSE_METAINFO, osp.basename(path)
        )
        if PurePath(path).parts[:-1] != MMPOSE_METAINFO or not osp.isfile(theirs):
            raise InputError(
                f'{key}.from_file: {path} does not exist in {os.getcwd()}; give the whole path, '
                "or in the config '{{ fileDirname }}/...' for a file beside it"
            )
        path = theirs
    try:
        return key, Config.fromfile(path).dataset_info
    except Exception as error:  # a config is code: it can raise anything
        raise InputError(
            f'{key}.from_file: {path} cannot be read: {type(error).__name__}: {error}'
        ) from error


def metainfo_mistakes(raw: Mapping) -> Iterator[str]:
    """Find what is wrong in a dataset's metainfo.

    Args:
        raw (Mapping): As MMPose's ``configs/_base_/datasets`` have it.

    Yields:
        str: The key, and what is wrong with it.
    """
    for key in ('dataset_name', 'keypoint_info', 'skeleton_info', 'joint_weights', 'sigmas'):
        if key not in raw:
            yield f'{key} is missing'
    keypoints = raw.get('keypoint_info')
    if not isinstance(keypoints, Mapping):
        return
    ids = list(keypoints)
    if ids != list(range(len(ids))):
        yield f'keypoint_info has the ids {_few(ids)}; they must be 0, 1, ... in this order'
    names = {}
    for index, keypoint in keypoints.items():
        name = keypoint.get('name')
        if name in names or not isinstance(name, str):
            yield f'keypoint_info[{index}].name: {name!r} is missing or there twice'
        names[name] = keypoint.get('swap', '') or name
    for name, swap in names.items():
        if swap not in names:
            yield f'keypoint_info: {name} has swap={swap!r}, which is no keypoint'
        elif names[swap] != name:
            yield (
                f'keypoint_info: {name} has swap={swap!r}, and {swap} has '
                f'swap={names[swap] if names[swap] != swap else ""!r}: a swap goes both ways'
            )
    for key in ('joint_weights', 'sigmas'):
        if key in raw and len(raw[key]) != len(ids):
            yield f'{key} has {len(raw[key])} values for {len(ids)} keypoints'
    if any(not sigma > 0 for sigma in raw.get('sigmas', ())):
        yield 'sigmas must be positive'
    for index, link in (raw.get('skeleton_info') or {}).items():
        for name in link.get('link', ()):
            if name not in names:
                yield f'skeleton_info[{index}].link: {name!r} is no keypoint'


def _few(values: list) -> str:
    return ', '.join(map(repr, values[:3])) + (', ...' if len(values) > 3 else '')


def _dataset_mistakes(dataset: Mapping, key: str) -> Iterator[str]:
    for config in innermost_datasets(dataset):
        try:
            where, raw = _raw_metainfo(config)
        except InputError as error:
            yield f'{key}.{error}'
        else:
            yield from (f'{key}.{where}: {mistake}' for mistake in metainfo_mistakes(raw))


def _outer_keypoints(dataset: Mapping) -> int | None:
    """Return how many keypoints the samples have that the model gets."""
    config = dataset if dataset.get('metainfo') else next(innermost_datasets(dataset))
    try:
        return len(_raw_metainfo(config)[1]['keypoint_info'])
    except (InputError, KeyError, TypeError):
        return None  # reported as a mistake of the dataset


def _pipeline_mistakes(dataset: Mapping, key: str, codec: Mapping) -> Iterator[str]:
    """Compare the steps that know the input or the heatmaps with the codec."""
    wrappers = [dataset] if dataset.get('pipeline') else []
    for config in [*wrappers, *innermost_datasets(dataset)]:
        for step in config.get('pipeline') or []:
            settings = {}
            if step['type'] == 'TopdownAffine':
                settings = {'TopdownAffine.input_size': step.get('input_size')}
            elif step['type'] == 'GenerateTarget' and isinstance(step.get('encoder'), Mapping):
                encoder = step['encoder']
                settings = {
                    f'GenerateTarget.encoder.{name}': encoder.get(name)
                    for name in ('input_size', 'heatmap_size')
                }
            for name, value in settings.items():
                wanted = codec.get(name.rsplit('.', 1)[-1])
                if value is not None and wanted is not None and tuple(value) != tuple(wanted):
                    yield (
                        f'{key}.pipeline: {name} is {tuple(value)}, '
                        f'model.head.decoder has {tuple(wanted)}'
                    )


def _model_mistakes(cfg: Config, keypoints: int) -> Iterator[str]:
    """Compare what the model gives, by its shapes alone, with the codec's targets."""
    with torch.device('meta'):
        model = MODELS.build(cfg.model).eval()
        if not isinstance(getattr(model, 'head', None), HeatmapHead):
            return
        codec = KEYPOINT_CODECS.build(cfg.model.head.decoder)
        width, height = codec.input_size
        try:
            with torch.no_grad():
                output = model(torch.zeros(1, 3, height, width), None, mode='tensor')
        except NotImplementedError:  # an operation that needs values
            return
        except RuntimeError as error:
            yield f'model: images of {width}x{height} do not go through it: {error}'
            return
    import numpy as np

    target = codec.encode(np.zeros((1, keypoints, 2)), np.ones((1, keypoints)))['heatmaps']
    channels, rows, columns = output.shape[1:]
    if channels != len(target):
        yield (
            f'model.head.out_channels is {channels}, and the data have {keypoints} keypoints'
            + (f', {len(target)} maps' if len(target) != keypoints else '')
        )
    if (rows, columns) != target.shape[1:]:
        yield (
            f'model.head.decoder.heatmap_size is {tuple(map(int, codec.heatmap_size))}, and the '
            f'model makes ({columns}, {rows}) of images of {width}x{height}'
        )


def settings_mistakes(cfg: Config, *splits: str) -> list[str]:
    """Find the settings of a config that do not fit each other.

    Nothing of the data is read, and the model is built without its weights.

    Args:
        cfg (Config): The config of a pose estimator.
        splits (str): Those of ``'train'``, ``'val'`` and ``'test'`` to check.

    Returns:
        list[str]: A line each, which begins with the key at fault.
    """
    register_modules(cfg)
    mistakes: dict[str, None] = {}  # once each, in order
    counts = []
    decoder = cfg.get('model', {}).get('head', {}).get('decoder')
    codec = decoder if isinstance(decoder, Mapping) else {}
    for split in splits:
        if cfg.get(f'{split}_dataloader') is None:
            continue
        key, dataset = f'{split}_dataloader.dataset', cfg[f'{split}_dataloader']['dataset']
        mistakes.update(dict.fromkeys(_dataset_mistakes(dataset, key)))
        mistakes.update(dict.fromkeys(_pipeline_mistakes(dataset, key, codec)))
        counts.append(_outer_keypoints(dataset))
    if counts and counts[0] and 'heatmap_size' in codec:
        mistakes.update(dict.fromkeys(_model_mistakes(cfg, counts[0])))
    return list(mistakes)


def require_fit(cfg: Config, *splits: str) -> None:
    """Check that the settings of a config fit each other.

    Args:
        cfg (Config): The config.
        splits (str): Splits that will be used.

    Raises:
        InputError: If some do not; it names the first one's key.
    """
    mistakes = settings_mistakes(cfg, *splits)
    if mistakes:
        more = (
            f' ({len(mistakes) - 1} more: tools/check_data.py lists them)' if mistakes[1:] else ''
        )
        raise InputError(f'config {cfg.filename}: {mistakes[0]}{more}')
