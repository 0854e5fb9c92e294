"""Boxes and results as JSON files."""

import json
import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ..errors import InputError
from .tracking import Persons

#: Keypoints that score less do not count in a person's score, as in
#: ``mmpose.evaluation.CocoMetric``.
COCO_KEYPOINT_THR = 0.2


class JsonListWriter:
    """Write a JSON list, an item a line, without holding it in memory.

    The file appears when the ``with`` block ends without an exception.

    Args:
        path (Path): The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._part = path.with_name(path.name + '.part')
        self._count = 0

    def __enter__(self) -> 'JsonListWriter':
        self._part.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._part.open('w')
        return self

    def write(self, item: Any) -> None:
        """Append an item."""
        self._file.write(',\n' if self._count else '[\n')
        self._file.write(json.dumps(item))
        self._count += 1

    def __exit__(self, exception, *_) -> None:
        try:
            with self._file:
                self._file.write('\n]\n' if self._count else '[]\n')
            if exception is None:
                os.replace(self._part, self.path)
        finally:
            self._part.unlink(missing_ok=True)


def read_json_list(path: Path) -> Iterator[Any]:
    """Yield the items that :class:`JsonListWriter` has written.

    Raises:
        InputError: If the file is damaged.
    """
    with path.open() as file:
        for line in file:
            line = line.strip().rstrip(',')
            if line in ('[', ']', '[]'):
                continue
            try:
                yield json.loads(line)
            except ValueError as error:
                raise InputError(
                    f'{path} is damaged ({error}): delete it and give the same command again'
                ) from error


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        InputError: If it is missing or no JSON.
    """
    try:
        return json.loads(Path(path).read_text())
    except (OSError, RecursionError, ValueError) as error:  # or nested without end
        raise InputError(f'{path} cannot be read as JSON: {error}') from error


def to_mmpose(persons: Persons) -> list[dict]:
    """Return persons as ``MMPoseInferencer`` writes them.

    Added is ``track_id``, where the persons have ids.
    """
    instances = []
    for i in range(len(persons)):
        instance = dict(
            keypoints=persons.keypoints[i].tolist(),
            keypoint_scores=persons.scores[i].tolist(),
            bbox=[persons.boxes[i].tolist()],
            bbox_score=float(persons.box_scores[i]),
        )
        if persons.ids is not None:
            instance['track_id'] = int(persons.ids[i])
        instances.append(instance)
    return instances


def to_coco(
    instances: list[dict], image_id: int, file_name: str, frame_id: int | None = None
) -> list[dict]:
    """Return persons in COCO's results format.

    Args:
        instances (list[dict]): From :func:`to_mmpose`.
        image_id (int): The image's or the frame's number.
        file_name (str): Name of the image or the video.
        frame_id (int, optional): The frame's number in a video.

    Returns:
        list[dict]: Keypoints as x, y, score; ``bbox`` as xywh; ``score`` as
        in ``mmpose.evaluation.CocoMetric``: the box's score times the mean of
        the keypoints' scores above 0.2. ``bbox_score``,
        ``file_name``, ``frame_id`` and ``track_id`` are not COCO's.
    """
    results = []
    for instance in instances:
        # no arrays: to make them takes longer than all the rest
        scores = instance['keypoint_scores']
        valid = [score for score in scores if score > COCO_KEYPOINT_THR]
        mean = sum(valid) / len(valid) if valid else 0.0
        ((x1, y1, x2, y2),) = instance['bbox']
        result = dict(
            image_id=image_id,
            category_id=1,
            keypoints=[
                value
                for (x, y), score in zip(instance['keypoints'], scores)
                for value in (x, y, score)
            ],
            score=mean * instance['bbox_score'],
            bbox=[x1, y1, x2 - x1, y2 - y1],
            bbox_score=instance['bbox_score'],
            file_name=file_name,
        )
        if frame_id is not None:
            result['frame_id'] = frame_id
        if 'track_id' in instance:
            result['track_id'] = instance['track_id']
        results.append(result)
    return results


def _as_id(value: Any) -> Any:
    """Return what ids have in common that mean the same: 7, 7.0 and '7'."""
    text = str(value).removesuffix('.0')
    return int(text) if text.isdecimal() else text


def _parts(path: str) -> tuple[str, ...]:
    """Return a path's parts, in one of the ways in which Unicode writes the same letters."""
    return PurePosixPath(unicodedata.normalize('NFC', path)).parts


def _is_end(parts: tuple[str, ...], path: tuple[str, ...]) -> bool:
    return path[-len(parts) :] == parts


class BoxFile:
    """Persons' boxes by file name, and by frame.

    Three layouts are read: COCO annotations (``images`` and ``annotations``);
    COCO results, a list of ``bbox`` (xywh), ``score`` and either ``file_name``
    (``lpn-pose`` writes it) or an ``image_id`` that is the number in the
    file's name; and ``{"photo.jpg": [[x1, y1, x2, y2], ...]}``.

    Entries without a usable box are left out and counted.

    Args:
        path (str | Path): JSON file.
        score_thr (float): Boxes that score less are left out; who has no score, scores 1.
            Default: 0.
        category (str, optional): Name or id of the boxes' category; None for the one named
            ``person``, or the only one, and where no names are listed for id 1. Default: None.

    Attributes:
        left_out (dict[str, list[str]]): By reason, the entries without a usable box.
        filtered (dict[str, int]): By reason, how many boxes are of no person.

    Raises:
        InputError: If it is none of these, or no box is left.
    """

    def __init__(self, path: Path, score_thr: float = 0.0, category: str | None = None) -> None:
        self.path, self.score_thr = path, score_thr
        content = read_json(path)
        self.left_out: dict[str, list[str]] = defaultdict(list)
        self.filtered: Counter[str] = Counter()
        #: file name or number to frame to rows x1, y1, x2, y2, score
        self._boxes: dict[Any, dict[int | None, list[list[float]]]] = {}
        self._image_ids: dict[str, Any] = {}
        self._sizes: dict[str, tuple[int, int]] = {}
        #: whether a file that is not named has nobody in it: COCO results leave out such files
        self._absent_is_empty = isinstance(content, list)
        self._keys: dict[str, list[Any]] = {}
        layout = (
            'it must be COCO annotations, COCO results, or {"FILE NAME": [[x1, y1, x2, y2], ...]}'
        )
        try:
            self._read(content, category)
        except (AttributeError, KeyError, TypeError) as error:
            raise InputError(
                f'{path} holds no boxes: {layout}; {type(error).__name__}: {error}'
            ) from error
        if not any(self._boxes.values()):
            raise InputError(f'{path} holds no boxes of persons: {self.report() or layout}')

    def report(self) -> str:
        """Say what is left out and why, or nothing."""
        parts = [f'{number} {reason}' for reason, number in self.filtered.items()]
        parts += [
            f'{len(entries)} {reason} (the first: {entries[0]})'
            for reason, entries in self.left_out.items()
        ]
        return ', '.join(parts)

    def _read(self, content: Any, category: str | None) -> None:
        if isinstance(content, dict) and 'annotations' not in content:
            for name, boxes in content.items():
                self._boxes[name] = {}
                for i, box in enumerate(boxes):
                    self._add(f'box {i} of {name}', name, box, {})
            return
        entries, names = content, None
        listed = {}
        if isinstance(content, dict):
            entries, names = content['annotations'], {}
            for image in content['images']:
                key, name = _as_id(image['id']), image['file_name']
                if names.setdefault(key, name) != name:
                    raise InputError(f'{self.path}: {names[key]} and {name} have the id {key}')
                self._image_ids[name] = image['id']
                self._sizes[name] = (image.get('width'), image.get('height'))
                self._boxes[name] = {}
            listed = {_as_id(c['id']): c.get('name') for c in content.get('categories', ())}
        wanted = self._wanted(entries, listed, category)
        for index, entry in enumerate(entries):
            if not isinstance(entry, dict):
                self.left_out['are no objects'].append(f'entry {index}')
                continue
            where = f'annotation {entry["id"]}' if 'id' in entry else f'entry {index}'
            name = entry.get('file_name')
            if name is None and entry.get('image_id') is not None:
                name = _as_id(entry['image_id'])
                name = name if names is None else names.get(name)
            if name is None:
                self.left_out['are of no image that is known'].append(where)
            elif entry.get('iscrowd'):
                self.filtered['of a crowd'] += 1
            elif wanted is not None and _as_id(entry.get('category_id', wanted)) != wanted:
                self.filtered['of another category'] += 1
            else:
                self._add(where, name, entry.get('bbox'), entry)

    def _wanted(self, entries: list, listed: dict, category: str | None) -> Any:
        """Return the id of the category that counts, None if there are no categories."""
        found = {
            _as_id(entry['category_id'])
            for entry in entries
            if isinstance(entry, dict) and 'category_id' in entry
        }
        if category is not None:
            ids = [key for key, name in listed.items() if name == category] or [_as_id(category)]
            if ids[0] not in listed and ids[0] not in found:
                raise InputError(
                    f'{self.path} has no category {category}: it has '
                    + (', '.join(f'{key} {name}' for key, name in listed.items()) or f'{found}')
                )
            return ids[0]
        persons = [key for key, name in listed.items() if name == 'person']
        persons = persons or (list(listed) if len(listed) == 1 else [])
        if not listed and 1 in found:
            persons = [1]
        if not persons and found:
            raise InputError(
                f'{self.path} has boxes of the categories '
                f'{", ".join(str(listed.get(key, key)) for key in sorted(found, key=str))}: '
                'say which is of persons by --bbox-category'
            )
        return persons[0] if persons else None

    def _add(self, where: str, name: Any, box: Any, entry: dict) -> None:
        """Take a box, xyxy of a name that is alone and else xywh, or say what is wrong."""
        try:
            score = float(entry.get('bbox_score', entry.get('score', 1)))
            frame = entry.get('frame_id')
            frame = None if frame is None else int(frame)
            x1, y1, x2, y2 = (float(v) for v in box)
        except (TypeError, ValueError, OverflowError):
            self.left_out['have no box of four numbers'].append(where)
            return
        if entry:
            x2, y2 = x1 + x2, y1 + y2
        if not np.isfinite([x1, y1, x2, y2, score]).all() or max(map(abs, (x1, y1, x2, y2))) > 1e6:
            self.left_out['have a number that is no pixel'].append(where)
        elif not (x1 < x2 and y1 < y2):
            self.left_out['have an empty box'].append(where)
        elif score < self.score_thr:
            self.filtered[f'score less than {self.score_thr:g}'] += 1
        else:
            frames = self._boxes.setdefault(name, {})
            frames.setdefault(frame, []).append([x1, y1, x2, y2, score])

    def assign(self, files: Mapping[str, str | Path]) -> int:
        """Find the boxes of files.

        A name in the box file is that of a file if it is the same relative path, or an end of
        the file's whole path, or ends with the file's relative path. It does not matter how
        Unicode writes its letters.

        Args:
            files (Mapping[str, str | Path]): Relative paths, by which :meth:`get` will be called,
                to the files themselves.

        Returns:
            int: Files that have boxes.

        Raises:
            InputError: If a name could be two files', or a file's two names.
        """
        by_last = defaultdict(list)
        for key in self._boxes:
            if isinstance(key, str):
                parts = _parts(key.replace('\\', '/'))
                by_last[parts[-1:]].append((parts, key))
        owns = {name: _parts(name) for name in files}
        owners: dict[Any, str] = {}

        def give(key: Any, name: str) -> None:
            if owners.setdefault(key, name) != name:
                raise InputError(
                    f'{self.path}: the boxes of {key} could be of {owners[key]} or {name}: '
                    'write the path there'
                )
            self._keys[name].append(key)

        for name, source in files.items():
            self._keys[name] = []
            own, path = owns[name], _parts(Path(source).absolute().as_posix())
            near = [
                (parts == own, len(parts), key)
                for parts, key in by_last[own[-1:]]
                if _is_end(parts, path) and (parts == own or parts not in owns.values())
            ]
            if near:
                give(max(near)[-1], name)
        for name in sorted(files, key=lambda name: -len(owns[name])):
            if self._keys[name]:
                continue
            far = [
                key
                for parts, key in by_last[owns[name][-1:]]
                if _is_end(owns[name], parts) and key not in owners
            ]
            if len(far) > 1:
                raise InputError(
                    f'{self.path}: {name} could be {" or ".join(far)}: '
                    'give the folder that both are in'
                )
            for key in far:
                give(key, name)
        for name in files:
            stem = PurePosixPath(name).stem
            if stem.isdecimal() and int(stem) in self._boxes:
                give(int(stem), name)
        return sum(any(map(self._boxes.get, self._keys[name])) for name in files)

    def _keys_of(self, name: str) -> list[Any]:
        if name not in self._keys:
            self.assign({name: name})
        return self._keys[name]

    def image_id(self, name: str) -> Any:
        """Return the id that COCO annotations give to a file, or None."""
        ids = [self._image_ids[key] for key in self._keys_of(name) if key in self._image_ids]
        return ids[0] if ids else None

    def missing(self) -> list[str]:
        """Return the files that are not named here, so that nothing is known of their persons."""
        if self._absent_is_empty:
            return []
        return [name for name, keys in self._keys.items() if not keys]

    def check_size(self, name: str, size: tuple[int, int]) -> None:
        """Check that the boxes of an image are of its size (w, h).

        Raises:
            InputError: If the box file says that the image had another size.
        """
        for said in (self._sizes.get(key) for key in self._keys_of(name)):
            if said and all(said) and tuple(said) != size:
                raise InputError(
                    f'{name} has {size[0]}x{size[1]} pixels, and its boxes in {self.path} are of '
                    f'{said[0]}x{said[1]}'
                )

    def get(self, name: str, frame: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return boxes (N, 4), xyxy, and scores (N, ) of an image or a frame.

        Boxes without ``frame_id`` are those of every frame.
        """
        rows: list[list[float]] = []
        for key in self._keys_of(name):
            rows += self._boxes[key].get(None, [])
            if frame is not None:
                rows += self._boxes[key].get(frame, [])
        table = np.array(rows, np.float32).reshape(-1, 5)
        return table[:, :4], table[:, 4]
