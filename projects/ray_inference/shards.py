"""The work of a run: which image belongs to which part of the result, and how a part is made.

Needs the runtime and, to write, pyarrow; but no Ray.
"""

import json
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from folders import Folder, read_patiently

from lpn_mmpose.errors import InputError
from lpn_mmpose.runtime import PersonDetector, PoseRuntime
from lpn_mmpose.runtime.media import decode_image
from lpn_mmpose.runtime.tracking import find_whole_image
from lpn_mmpose.runtime.workers import run_apart
from lpn_mmpose.version import __version__

#: Columns of the result, see README.md.
COLUMNS = ('image', 'person', 'bbox', 'bbox_score', 'keypoints', 'keypoint_scores', 'error')
#: Images that an actor reads ahead.
READ_AHEAD = 8
#: Parts that each actor has at least, if the number of images in one is not given.
PARTS_PER_ACTOR = 4
MAX_BATCH = 1000
#: How often a part is tried, where processes die on it, before its images go through processes
#: of their own.
TRIES = 2


# ---- the plan


@dataclass(frozen=True)
class Part:
    """Images whose rows stand in one file.

    Args:
        name (str): The file in ``poses/``.
        images (list[str]): Their names.
    """

    name: str
    images: list[str]


def default_batch(images: int, actors: int) -> int:
    """Return how many images make a part: few enough that the actors end together."""
    return max(1, min(MAX_BATCH, images // (PARTS_PER_ACTOR * actors)))


class Plan:
    """Which image belongs to which part; what was decided once holds for all later runs.

    So a part's file has the same images whoever writes it, at whatever time and however often:
    an actor that was taken for dead, or one of a run that was killed, can only replace a file by
    its equal.

    Args:
        out (Folder): Folder of the results.

    Attributes:
        parts (list[Part]): The parts.

    Raises:
        InputError: If the plan is damaged.
    """

    def __init__(self, out: Folder) -> None:
        self._out = out
        self.parts: list[Part] = []
        for name in sorted(name for name in out.within('plan') if name.endswith('.jsonl')):
            address = out.join(f'plan/{name}')
            try:
                for line in read_patiently(out, f'plan/{name}').splitlines():
                    entry = json.loads(line)
                    self.parts.append(Part(str(entry['name']), list(entry['images'])))
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise InputError(
                    f'{address} is damaged ({error}): give another folder by --out'
                ) from error

    def unplanned(self, images: Iterable[str]) -> list[str]:
        """Return the images that are in no part yet."""
        known = {image for part in self.parts for image in part.images}
        return [image for image in images if image not in known]

    def add(self, images: list[str], batch: int) -> None:
        """Plan images that are in no part yet, ``batch`` to a part.

        Raises:
            OSError: If it cannot be written.
        """
        first = len(self.parts)
        added = [
            Part(f'part-{first + i:08}.parquet', images[start : start + batch])
            for i, start in enumerate(range(0, len(images), batch))
        ]
        if added:
            lines = [json.dumps(vars(part)) for part in added]
            self._out.write(f'plan/{first:08}.jsonl', '\n'.join(lines).encode())
            self.parts += added

    def made(self) -> list[Part]:
        """Return the parts whose files are there."""
        there = self._out.within('poses')
        return [part for part in self.parts if part.name in there]

    def missing(self) -> list[Part]:
        """Return the parts whose files are not there."""
        there = self._out.within('poses')
        return [part for part in self.parts if part.name not in there]


def keep_settings(out: Folder, settings: dict[str, Any]) -> None:
    """Note what decides the results, and refuse to mix them with those of other settings.

    Raises:
        InputError: If the folder holds such.
        OSError: If it cannot be written.
    """
    if not out.has('settings.json'):
        out.write('settings.json', json.dumps(settings).encode())
        return
    try:
        before = json.loads(out.read('settings.json'))
        differing = [name for name in settings if before.get(name) != settings[name]]
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(
            f'{out.join("settings.json")} is damaged ({error}): give another folder by --out'
        ) from error
    for name in differing:
        raise InputError(
            f'--out {out.address} holds results with {name} {before.get(name)}, and now it is '
            f'{settings[name]}: give another folder'
        )


# ---- the rows


def person_rows(
    image: str,
    boxes: np.ndarray,
    box_scores: np.ndarray,
    keypoints: np.ndarray,
    scores: np.ndarray,
) -> list[dict[str, Any]]:
    """Return the rows of an image: one for each of its N persons, or one that says there is none.

    Args:
        image (str): Its name.
        boxes (np.ndarray): Boxes (x1, y1, x2, y2) in shape (N, 4).
        box_scores (np.ndarray): Their scores (N, ).
        keypoints (np.ndarray): Coordinates (N, K, 2) in pixels.
        scores (np.ndarray): Their scores (N, K).
    """
    rows = [
        dict(
            image=image,
            person=i,
            bbox=boxes[i].tolist(),
            bbox_score=float(box_scores[i]),
            keypoints=keypoints[i].tolist(),
            keypoint_scores=scores[i].tolist(),
            error=None,
        )
        for i in range(len(keypoints))
    ]
    return rows or [dict.fromkeys(COLUMNS) | dict(image=image)]


def error_row(image: str, reason: str) -> dict[str, Any]:
    """Return the row of an image that could not be read."""
    return dict.fromkeys(COLUMNS) | dict(image=image, error=' '.join(reason.split()))


def to_parquet(rows: list[dict[str, Any]], about: dict[str, Any]) -> bytes:
    """Return rows as a Parquet file.

    Args:
        rows (list[dict]): From :func:`person_rows` and :func:`error_row`.
        about (dict): Goes into the file's metadata, as JSON under the key ``lpn_mmpose``.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = pa.float32()
    types = (
        pa.string(),
        pa.int32(),
        pa.list_(number),
        number,
        pa.list_(pa.list_(number)),
        pa.list_(number),
        pa.string(),
    )
    schema = pa.schema(list(zip(COLUMNS, types)), {'lpn_mmpose': json.dumps(about)})
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows, schema), sink, compression='zstd')
    return sink.getvalue().to_pybytes()


# ---- the actor


@dataclass
class Models:
    """What is loaded in each actor.

    Args:
        pose (dict): Arguments of :class:`PoseRuntime`.
        detector (dict, optional): Arguments of :class:`PersonDetector`; None for the whole image
            as one person. Default: None.
        threads (int): Threads of each. Default: 1.
    """

    pose: dict[str, Any]
    detector: dict[str, Any] | None = None
    threads: int = 1

    def load(self) -> tuple[PoseRuntime, Callable]:
        """Return the pose model, and what finds the persons.

        Raises:
            InputError: If a model cannot be had.
        """
        pose = PoseRuntime(**self.pose, threads=self.threads)
        if self.detector is None:
            return pose, find_whole_image
        return pose, PersonDetector(**self.detector, threads=self.threads)


class Estimator:
    """Images to rows.

    Args:
        models (Models): The models.
        images (Folder): Folder of the images.
    """

    def __init__(self, models: Models, images: Folder) -> None:
        self._models, self._images = models, images
        self.pose, self._find = models.load()

    def fetch(self, name: str) -> bytes | OSError:
        """Return an image's content, or why it cannot be had."""
        try:
            return read_patiently(self._images, name)
        except OSError as error:
            return error

    def rows(self, name: str, content: bytes | OSError, spent: dict[str, float]) -> list[dict]:
        """Return the rows of an image.

        Args:
            name (str): Its name.
            content (bytes | OSError): From :meth:`fetch`.
            spent (dict): Seconds of decoding and of the networks are added to it.
        """
        begin = time.perf_counter()
        address = self._images.join(name)
        if isinstance(content, FileNotFoundError):
            return [error_row(name, f'{address} does not exist')]
        if isinstance(content, OSError):
            return [error_row(name, f'{address} cannot be read: {content.strerror or content}')]
        try:
            image = decode_image(content, address)
            decoded = time.perf_counter()
            boxes, box_scores = self._find(image)
            found = person_rows(name, boxes, box_scores, *self.pose(image, boxes))
        except (ValueError, cv2.error) as error:
            reason = str(error)
            return [error_row(name, reason if name in reason else f'{address}: {reason}')]
        spent['decoding'] += decoded - begin
        spent['networks'] += time.perf_counter() - decoded
        return found

    def __call__(self, name: str) -> list[dict]:
        """Return the rows of an image that is read here."""
        return self.rows(name, self.fetch(name), dict(decoding=0.0, networks=0.0))


class Sealed:
    """A function that a process without this project's folder can unpickle.

    Args:
        function (Callable): The function.
    """

    def __init__(self, function: Callable) -> None:
        self._function = function

    def __reduce__(self) -> tuple:
        from ray import cloudpickle

        return cloudpickle.loads, (cloudpickle.dumps(self._function),)


@dataclass
class Outcome:
    """What became of a part.

    Args:
        part (str): Its name.
        images (int): Images in it; 0 if another actor had made it. Default: 0.
        persons (int): Persons found. Default: 0.
        errors (list[str]): Why images could not be read.
        failure (str): Why the part could not be made at all, or nothing. Default: ''.
        size (int): Bytes written. Default: 0.
        read (int): Bytes read. Default: 0.
        began (float): Time when it was begun, in seconds since 1970. Default: 0.
        ended (float): Time when it was written. Default: 0.
        cpu (float): Seconds of CPU time of the actor, all its threads. Default: 0.
        spent (dict): Seconds by what they were spent on.
    """

    part: str
    images: int = 0
    persons: int = 0
    errors: list[str] = field(default_factory=list)
    failure: str = ''
    size: int = 0
    read: int = 0
    began: float = 0.0
    ended: float = 0.0
    cpu: float = 0.0
    spent: dict[str, float] = field(
        default_factory=lambda: dict(waiting=0.0, decoding=0.0, networks=0.0, writing=0.0)
    )


class Worker:
    """Makes parts; holds the models.

    What is wrong with the whole run (no model, no folder, a full disk) is told as the failure of
    a part, and the run ends: Ray would try again without end.

    Args:
        models (Models): The models.
        images (Folder): Folder of the images.
        out (Folder): Folder of the results.
        redo (bool): Whether a part that is there is made again. Default: False.
    """

    def __init__(
        self,
        models: Models,
        images: Folder,
        out: Folder,
        redo: bool = False,
    ) -> None:
        self._images, self._out, self._redo = images, out, redo
        self._broken = ''
        cv2.setNumThreads(models.threads)
        if hasattr(cv2, 'setLogLevel'):  # unreadable files are reported in our words
            cv2.setLogLevel(0)
        else:  # OpenCV 5
            cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        try:
            images.check()
            self._estimate = Estimator(models, images)
        except (OSError, ValueError) as error:
            self._broken = f'{socket.gethostname()}: {error}'

    def _rows_apart(self, part: Part) -> Iterator[list[dict]]:
        """Yield the rows of each image, made in another process; if it dies, we do not."""
        for name, rows in run_apart(Sealed(self._estimate), part.images, 1):
            reason = f'{self._images.join(name)}: the process died on it twice'
            yield rows or [error_row(name, reason)]

    def _rows_here(self, part: Part, outcome: Outcome) -> Iterator[list[dict]]:
        """Yield the rows of each image, the next ones being read meanwhile."""
        estimate, spent = self._estimate, outcome.spent
        with ThreadPoolExecutor(READ_AHEAD) as pool:
            ahead = [pool.submit(estimate.fetch, name) for name in part.images[:READ_AHEAD]]
            unread = 0
            for i, name in enumerate(part.images):
                begin = time.perf_counter()
                content, ahead[i] = ahead[i].result(), None
                spent['waiting'] += time.perf_counter() - begin
                if i + READ_AHEAD < len(part.images):
                    ahead.append(pool.submit(estimate.fetch, part.images[i + READ_AHEAD]))
                outcome.read += 0 if isinstance(content, OSError) else len(content)
                unread += isinstance(content, OSError) and not isinstance(
                    content, FileNotFoundError
                )
                yield estimate.rows(name, content, spent)
        if unread == len(part.images) > 1:
            raise OSError(f'none of the images of {part.name} could be read: {content}')

    def make(self, part: Part) -> Outcome:
        """Write a part and return what became of it."""
        outcome, cpu = Outcome(part.name, began=time.time()), time.process_time()
        if self._broken:
            outcome.failure = self._broken
            return outcome
        name = f'poses/{part.name}'
        # Ray gives a part whose actor died to another, again and again
        tries = [f'trying/{part.name}.{i}' for i in range(TRIES)]
        try:
            if not self._redo and self._out.has(name):
                return outcome  # by an actor that was taken for dead
            untried = [i for i in tries if not self._out.has(i)]
            if untried:
                self._out.write(untried[0], b'')
                made = self._rows_here(part, outcome)
            else:
                made = self._rows_apart(part)
            rows = [row for rows in made for row in rows]
            begin = time.perf_counter()
            meta = self._estimate.pose.meta
            about = dict(
                version=__version__,
                made_by=f'{socket.gethostname()}, process {os.getpid()}',
                keypoints=list(meta.keypoint_names),
                skeleton=[list(pair) for pair in meta.skeleton],
            )
            content = to_parquet(rows, about)
            self._out.write(name, content)
            for i in tries:
                self._out.delete(i)
            outcome.spent['writing'] += time.perf_counter() - begin
        except Exception as error:  # which Ray would print as a page
            outcome.failure = (
                f'{socket.gethostname()}: {self._out.join(name)}: {type(error).__name__}: {error}'
            )
            return outcome
        outcome.images = len(part.images)
        outcome.persons = sum(row['person'] is not None for row in rows)
        outcome.errors = [row['error'] for row in rows if row['error'] is not None]
        outcome.size, outcome.ended = len(content), time.time()
        outcome.cpu = time.process_time() - cpu
        return outcome

    def __call__(self, batch) -> dict[str, list]:
        """Make the parts in a table of Ray Data: ``part``, ``images``; return JSON of outcomes."""
        parts = [Part(row['part'], row['images']) for row in batch.to_pylist()]
        made = [self.make(part) for part in parts]
        return dict(outcome=[json.dumps(vars(outcome)) for outcome in made])
