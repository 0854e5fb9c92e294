"""Boxes and results as JSON files."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
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
        self._file = self._part.open('w')
        return self

    def write(self, item: Any) -> None:
        """Append an item."""
        self._file.write(',\n' if self._count else '[\n')
        self._file.write(json.dumps(item))
        self._count += 1

    def __exit__(self, exception, *_) -> None:
        self._file.write('\n]\n' if self._count else '[]\n')
        self._file.close()
        if exception is None:
            os.replace(self._part, self.path)


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
    except (OSError, ValueError) as error:
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
        the keypoints' scores above 0.2. ``file_name``, ``frame_id`` and
        ``track_id`` are not COCO's.
    """
    results = []
    for instance in instances:
        scores = np.array(instance['keypoint_scores'])
        triples = np.hstack([instance['keypoints'], scores[:, None]])
        ((x1, y1, x2, y2),) = instance['bbox']
        valid = scores[scores > COCO_KEYPOINT_THR]
        mean = float(valid.mean()) if len(valid) else 0.0
        result = dict(
            image_id=image_id,
            category_id=1,
            keypoints=triples.ravel().tolist(),
            score=mean * instance['bbox_score'],
            bbox=[x1, y1, x2 - x1, y2 - y1],
            file_name=file_name,
        )
        if frame_id is not None:
            result['frame_id'] = frame_id
        if 'track_id' in instance:
            result['track_id'] = instance['track_id']
        results.append(result)
    return results


class BoxFile:
    """Persons' boxes by file name, and by frame.

    Three layouts are read: COCO annotations (``images`` and ``annotations``);
    COCO results, a list of ``bbox`` (xywh), ``score`` and either ``file_name``
    (``lpn-pose`` writes it) or an ``image_id`` that is the number in the
    file's name; and ``{"photo.jpg": [[x1, y1, x2, y2], ...]}``.

    Args:
        path (str | Path): JSON file.

    Raises:
        InputError: If it is none of these.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        content = read_json(path)
        #: (file name without suffix or number, frame) to rows x1, y1, x2, y2,
        #: score
        self._boxes: dict[tuple[Any, int | None], list[list[float]]] = {}
        self._images: dict[str, int] = {}
        try:
            self._read(content)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f'{path} holds no boxes: it must be COCO annotations, COCO '
                'results, or {"FILE NAME": [[x1, y1, x2, y2], ...]}; '
                f'{type(error).__name__}: {error}'
            ) from error

    def _add(self, key, frame, box, score) -> None:
        x1, y1, x2, y2 = (float(v) for v in box)
        if not (x1 < x2 and y1 < y2):
            raise ValueError(f'box {[x1, y1, x2, y2]} of {key} is empty')
        self._boxes.setdefault((key, frame), []).append([x1, y1, x2, y2, float(score)])

    def _read(self, content) -> None:
        if isinstance(content, dict) and 'annotations' not in content:
            for name, boxes in content.items():
                for box in boxes:
                    self._add(name, None, box, 1)
            return
        annotations = content
        names = {}
        if isinstance(content, dict):
            annotations = content['annotations']
            names = {image['id']: Path(image['file_name']).name for image in content['images']}
            self._images = {name: key for key, name in names.items()}
        for entry in annotations:
            key = entry.get('file_name')
            if key is None:
                key = names.get(entry['image_id'], entry['image_id'])
            x, y, w, h = entry['bbox']
            if entry.get('iscrowd') or w <= 0 or h <= 0:
                continue
            self._add(key, entry.get('frame_id'), (x, y, x + w, y + h), entry.get('score', 1))

    @staticmethod
    def _keys(name: str) -> list[Any]:
        stem = Path(name).stem
        return [name] + ([int(stem)] if stem.isdecimal() else [])

    def image_id(self, name: str) -> int | None:
        """Return the id that COCO annotations give to a file."""
        return self._images.get(name)

    def knows(self, name: str) -> bool:
        """Tell whether there is a box for any frame of a file."""
        keys = self._keys(name)
        return any(key in keys for key, _ in self._boxes)

    def get(self, name: str, frame: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return boxes (N, 4), xyxy, and scores (N, ) of an image or a frame.

        Boxes without ``frame_id`` are those of every frame.
        """
        rows: list[list[float]] = []
        for key in self._keys(name):
            rows += self._boxes.get((key, None), [])
            if frame is not None:
                rows += self._boxes.get((key, frame), [])
        table = np.array(rows, np.float32).reshape(-1, 5)
        return table[:, :4], table[:, 4]
