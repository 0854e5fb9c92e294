"""Validation of the data that a config names: files, annotations, images."""

import json
import os
import os.path as osp
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmpose.registry import DATASETS, TRANSFORMS
from PIL import Image
from scipy.io import loadmat
from tqdm import tqdm

from ..errors import InputError
from ..runtime.media import read_image
from ..utils.config import (
    evaluator_configs,
    ignores_orientation,
    image_loader,
    innermost_datasets,
    register_modules,
)
from .annotations import Finding, as_numbers, inspect, repair

#: Pixels by which a box may leave its image: annotations are rounded.
BOX_TOLERANCE = 1.0
#: PIL's modes whose pixels every reader takes for the same.
PLAIN_MODES = ('1', 'L', 'LA', 'P', 'RGB', 'RGBA')


@dataclass
class Person:
    """A labelled instance of an annotation file.

    Attributes:
        name (str): What to call it in a message.
        keypoints (np.ndarray): Its labelled keypoints (M, 2) in pixels that
            count from 0.
        box (np.ndarray, optional): Its box as xyxy in pixels.
    """

    name: str
    keypoints: np.ndarray
    box: np.ndarray | None = None


@dataclass
class Picture:
    """An image that a dataset will read, and who is in it.

    Attributes:
        size (tuple[int, int], optional): Width and height as annotated.
        persons (list[Person]): Its persons.
    """

    size: tuple[int, int] | None = None
    persons: list[Person] = field(default_factory=list)


@dataclass
class SplitReport:
    """What a split has, and what is wrong with it.

    Attributes:
        split (str): ``'train'``, ``'val'`` or ``'test'``.
        images (int): Images that are read.
        persons (int): Persons with labelled keypoints.
        keypoints (int): Labelled keypoints.
        detections (int): Boxes of the detector.
        problems (dict[str, list[str]]): Messages by the kind of problem.
    """

    split: str
    images: int = 0
    persons: int = 0
    keypoints: int = 0
    detections: int = 0
    problems: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    @property
    def number_of_problems(self) -> int:
        """How many there are of all kinds."""
        return sum(map(len, self.problems.values()))

    def format(self, limit: int = 10) -> str:
        """Lay the report out as text.

        Args:
            limit (int): Messages of each kind to print. Default: 10.
        """
        counts = [f'{self.images} images', f'{self.persons} persons', f'{self.keypoints} keypoints']
        if self.detections:
            counts.append(f'{self.detections} detections')
        lines = [f'{self.split}: ' + ', '.join(counts)]
        for kind, messages in self.problems.items():
            lines.append(f'  {kind}: {len(messages)}')
            lines += [f'    {message}' for message in messages[:limit]]
            if len(messages) > limit:
                lines.append(f'    and {len(messages) - limit} more')
        return '\n'.join(lines)


def data_paths(dataset: dict) -> Iterator[tuple[str, str]]:
    """List the files and folders that a dataset needs.

    Args:
        dataset (dict): Config of an MMPose dataset, or of a wrapper with
            ``dataset`` or ``datasets`` inside.

    Yields:
        tuple[str, str]: The config's key, and the path as the dataset will
        join it with ``data_root``.
    """
    for config in innermost_datasets(dataset):
        root = config.get('data_root') or ''
        if config.get('ann_file'):
            yield 'ann_file', osp.join(root, config['ann_file'])
        for key in ('bbox_file', 'headbox_file'):
            if config.get(key):
                yield key, config[key]
        for key, prefix in (config.get('data_prefix') or {}).items():
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
    for evaluator in evaluator_configs(cfg, split):
        if evaluator.get('ann_file'):
            yield f'{split}_evaluator.ann_file', evaluator['ann_file']


def missing_paths(cfg: Config, split: str) -> Iterator[tuple[str, str]]:
    """List those of :func:`split_paths` that are local and not there."""
    for key, path in split_paths(cfg, split):
        if '://' not in path and not osp.exists(path):
            yield key, path


def require_data(cfg: Config, *splits: str) -> None:
    """Check that the files and folders of ``splits`` are there.

    Args:
        cfg (Config): The config.
        splits (str): Any of ``'train'``, ``'val'`` and ``'test'``.

    Raises:
        InputError: If one is missing.
    """
    for split in splits:
        for key, path in missing_paths(cfg, split):
            hint = f'set {key} with --cfg-options'
            if key.endswith('bbox_file'):
                hint += f', or use the ground-truth boxes: {key}=None'
            raise InputError(f'{path} does not exist; put it there or {hint}')


def _read_json(path: str, report: SplitReport):
    try:
        return json.loads(Path(path).read_text())
    except (ValueError, RecursionError) as error:  # nested beyond all reason
        report.problems['unreadable annotation files'].append(f'{path}: {error}')
        return None


def _read_coco(content: dict, prefix: str, meta: dict, report: SplitReport) -> dict[str, Picture]:
    """Read the pictures of a COCO-style annotation file."""
    names = [meta['keypoint_id2name'][i] for i in range(meta['num_keypoints'])]
    for finding in inspect(content, names):
        report.problems[finding.kind].append(finding.message)
    paths, pictures = {}, {}
    for image in content['images']:
        path = str(Path(prefix) / image['file_name'])
        paths[image['id']] = path
        pictures[path] = Picture((image['width'], image['height']))
    for annotation in content['annotations']:
        path = paths.get(annotation.get('image_id'))
        flags = as_numbers(annotation.get('keypoints'))
        box = as_numbers(annotation.get('bbox'))
        if path is None or annotation.get('iscrowd') or box is None or len(box) != 4:
            continue
        if flags is None or len(flags) != 3 * len(names):
            continue
        triples = np.array(flags, float).reshape(-1, 3)
        labelled = (triples[:, 2] > 0) & np.isfinite(triples).all(1)
        if labelled.any() and np.isfinite(box).all():
            x, y, w, h = box
            name = f'annotation {annotation.get("id")}'
            pictures[path].persons.append(
                Person(name, triples[labelled, :2], np.array([x, y, x + w, y + h]))
            )
    return pictures


def _read_mpii(content: list, prefix: str, meta: dict, report: SplitReport) -> dict[str, Picture]:
    """Read the pictures of MPII's annotations in MMPose's format."""
    pictures = defaultdict(Picture)
    for index, entry in enumerate(content):
        name = f'entry {index}'
        joints = np.array(entry['joints'], float)
        labelled = np.array(entry['joints_vis']) > 0
        if joints.shape != (meta['num_keypoints'], 2) or len(labelled) != len(joints):
            report.problems['malformed annotations'].append(
                f'{name}: joints of shape {joints.shape}, not ({meta["num_keypoints"]}, 2)'
            )
            continue
        if not entry['scale'] > 0 or not np.isfinite(joints).all():
            report.problems['malformed annotations'].append(
                f'{name}: scale {entry["scale"]}, or a joint is no number'
            )
            continue
        # MPII counts from 1
        pictures[str(Path(prefix) / entry['image'])].persons.append(
            Person(name, joints[labelled] - 1)
        )
    return pictures


def _read_detections(path: str, content: dict, report: SplitReport) -> set | None:
    """Count a detector's boxes and return the images that have some."""
    detections = _read_json(path, report)
    if detections is None:
        return None
    known = {image['id'] for image in content['images']}
    used = set()
    for index, detection in enumerate(detections):
        if detection['category_id'] != 1:
            continue
        report.detections += 1
        used.add(detection['image_id'])
        if detection['image_id'] not in known:
            report.problems['detections in unknown images'].append(
                f'detection {index}: image {detection["image_id"]}'
            )
        if not min(detection['bbox'][2:4]) > 0:
            report.problems['malformed detections'].append(
                f'detection {index}: box {detection["bbox"]}'
            )
    return used


def _check_heads(path: str, persons: int, report: SplitReport) -> None:
    """Check the head boxes of MPII's evaluation."""
    try:
        boxes = loadmat(path)['headboxes_src']
    except (KeyError, OSError, ValueError) as error:
        report.problems['unreadable annotation files'].append(f'{path}: {error}')
        return
    if boxes.shape != (2, 2, persons):
        report.problems['malformed annotations'].append(
            f'{path}: headboxes_src of shape {boxes.shape}, for {persons} persons (2, 2, {persons})'
        )
        return
    for index in np.flatnonzero((boxes[1] <= boxes[0]).any(0)):
        report.problems['malformed annotations'].append(
            f'{path}: head box {index} is {boxes[..., index].tolist()}'
        )


def _read_size(path: str, pipeline: list[dict] | None):
    """Decode an image; return its size (w, h) as trained on, or what is wrong with it."""
    try:
        with Image.open(path) as image:
            image.load()
            upright = image.getexif().get(0x0112, 1) == 1
            if upright and image.mode in PLAIN_MODES and getattr(image, 'n_frames', 1) == 1:
                return image.size
        seen = read_image(path, ignores_orientation(pipeline))
        trained = TRANSFORMS.build(image_loader(pipeline))(dict(img_path=path))['img']
        if not np.array_equal(seen, trained):
            return InputError('training reads another picture than one sees: save it as PNG')
        return trained.shape[1::-1]
    except Exception as error:  # a broken file can raise anything
        return error


def _check_pictures(
    pictures: dict[str, Picture], report: SplitReport, pipeline: list[dict] | None
) -> None:
    """Decode the images, and check that annotations lie inside."""
    bad = report.problems
    present = []
    for path in pictures:
        if Path(path).is_file():
            present.append(path)
        else:
            bad['missing images'].append(path)
    with ThreadPoolExecutor() as pool:
        sizes = tqdm(
            pool.map(partial(_read_size, pipeline=pipeline), present),
            total=len(present),
            desc=report.split,
            unit='img',
        )
        decoded = dict(zip(present, list(sizes)))
    for path, picture in pictures.items():
        size = decoded.get(path, picture.size)
        if isinstance(size, Exception):
            bad['unreadable images'].append(f'{path}: {size}')
            size = picture.size
        elif picture.size and size != picture.size:
            bad['images of another size than annotated'].append(
                '{}: {}x{}, annotated {}x{}'.format(path, *size, *picture.size)
            )
        if size:
            _check_bounds(path, picture.persons, np.array(size), report)


def _check_bounds(
    path: str, persons: Iterable[Person], size: np.ndarray, report: SplitReport
) -> None:
    for person in persons:
        where = f'{path}, {person.name}'
        inside = ((person.keypoints >= 0) & (person.keypoints <= size)).all(1)
        for x, y in person.keypoints[~inside]:
            report.problems['keypoints outside of the image'].append(
                f'{where}: ({x:g}, {y:g}) in {size[0]}x{size[1]}'
            )
        if person.box is None:
            continue
        low, high = person.box[:2], person.box[2:]
        if not (high > low).all():
            report.problems['empty boxes'].append(f'{where}: xyxy {person.box.tolist()}')
        elif (low < -BOX_TOLERANCE).any() or (high > size + BOX_TOLERANCE).any():
            report.problems['boxes outside of the image'].append(
                f'{where}: xyxy {person.box.tolist()} in {size[0]}x{size[1]}'
            )


def _check_dataset(config: dict, report: SplitReport) -> None:
    """Check one dataset whose files are there."""
    settings = dict(config, lazy_init=True, pipeline=[])
    dataset = DATASETS.build(settings)
    content = _read_json(dataset.ann_file, report)
    if content is None:
        return
    prefix = dataset.data_prefix['img']
    used = None
    try:
        if isinstance(content, list):
            pictures = _read_mpii(content, prefix, dataset.metainfo, report)
            persons = len(content)
        else:
            pictures = _read_coco(content, prefix, dataset.metainfo, report)
            persons = None
        if config.get('bbox_file'):
            used = _read_detections(config['bbox_file'], content, report)
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        report.problems['malformed annotations'].append(
            f'{dataset.ann_file} or its detections are not as COCO or MPII '
            f'have them: {type(error).__name__}: {error}'
        )
        return
    if config.get('headbox_file'):
        _check_heads(config['headbox_file'], persons, report)

    detected = set()
    if used is not None:
        detected = {
            str(Path(prefix) / image['file_name'])
            for image in content['images']
            if image['id'] in used
        }
    read = {
        path: picture for path, picture in pictures.items() if picture.persons or path in detected
    }
    if not read:
        report.problems['nothing to read'].append(
            f'{dataset.ann_file} has no person with a labelled keypoint'
        )
    everyone = [p for picture in read.values() for p in picture.persons]
    report.images += len(read)
    report.persons += len(everyone)
    report.keypoints += sum(len(person.keypoints) for person in everyone)
    _check_pictures(read, report, config.get('pipeline'))


def check_split(cfg: Config, split: str) -> SplitReport:
    """Check the data of one of a config's splits.

    Args:
        cfg (Config): The config.
        split (str): ``'train'``, ``'val'`` or ``'test'``.

    Returns:
        SplitReport: What was found.

    Raises:
        InputError: If the dataset's type or metainfo cannot be used.
    """
    register_modules(cfg)
    report = SplitReport(split)
    for key, path in missing_paths(cfg, split):
        report.problems['missing files and folders'].append(f'{path} ({key})')
    for config in innermost_datasets(cfg[f'{split}_dataloader']['dataset']):
        missing = {key for key, path in data_paths(config) if not Path(path).exists()}
        if 'ann_file' in missing:
            continue
        config = {k: v for k, v in config.items() if k not in missing}
        try:
            _check_dataset(config, report)
        except (AssertionError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f'config {cfg.filename}: {split}_dataloader.dataset: '
                f'{type(error).__name__}: {error}'
            ) from error
    return report


def _annotation_file(cfg: Config, splits: Iterable[str]) -> tuple[str, dict]:
    """Return the one COCO-style annotation file of ``splits``, and its dataset's config."""
    found = {}
    for split in splits:
        if cfg.get(f'{split}_dataloader') is None:
            continue
        for config in innermost_datasets(cfg[f'{split}_dataloader']['dataset']):
            paths = dict(data_paths(config))
            if 'ann_file' in paths:
                found[paths['ann_file']] = config
    if len(found) != 1:
        raise InputError(
            f'--fix repairs one annotation file, and these splits have {len(found)} '
            f'({", ".join(found)}): name one with --splits'
        )
    return found.popitem()


def repair_file(cfg: Config, splits: Iterable[str], target: str) -> tuple[Counter, list[Finding]]:
    """Write the annotation file of ``splits`` with what can be put right.

    Args:
        cfg (Config): The config.
        splits (Iterable[str]): Splits that have one annotation file.
        target (str): JSON file to write; all or nothing.

    Returns:
        tuple[Counter, list[Finding]]: See
        :func:`lpn_mmpose.datasets.annotations.repair`.

    Raises:
        InputError: If there is not one COCO-style annotation file, or it
            would be overwritten.
    """
    register_modules(cfg)
    path, config = _annotation_file(cfg, splits)
    if osp.abspath(target) == osp.abspath(path) or (
        osp.exists(target) and osp.exists(path) and osp.samefile(target, path)
    ):
        raise InputError(f'--fix {target} is the annotation file itself: give another name')
    report = SplitReport('')
    content = _read_json(path, report) if osp.isfile(path) else None
    if not isinstance(content, dict):
        reason = [m for messages in report.problems.values() for m in messages]
        raise InputError(
            reason[0] if reason else f"--fix: {path} is no annotation file of COCO's format"
        )
    meta = DATASETS.build(dict(config, lazy_init=True, pipeline=[])).metainfo
    names = [meta['keypoint_id2name'][i] for i in range(meta['num_keypoints'])]
    content, changes, left = repair(content, names)
    partial = Path(f'{target}.partial')
    try:
        partial.write_text(json.dumps(content))
        os.replace(partial, target)
    except OSError as error:
        raise InputError(f'{target} cannot be written: {error.strerror}') from error
    finally:
        partial.unlink(missing_ok=True)
    return changes, left
