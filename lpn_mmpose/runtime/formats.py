"""Results in the layouts that other programs read: CSV, and OpenPose's JSON.

Both take the persons as :func:`lpn_mmpose.runtime.results.to_mmpose` gives them.
"""

import csv
import glob
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from .media import replace_file

#: OpenPose's BODY_25 in its order: names of a keypoint that may stand there,
#: or pairs of which it is the middle.
BODY_25: tuple[tuple[str | tuple[str, str], ...], ...] = (
    ('nose',),
    (('right_shoulder', 'left_shoulder'), 'neck', 'upper_neck', 'thorax'),
    ('right_shoulder',),
    ('right_elbow',),
    ('right_wrist',),
    ('left_shoulder',),
    ('left_elbow',),
    ('left_wrist',),
    (('right_hip', 'left_hip'), 'pelvis'),
    ('right_hip',),
    ('right_knee',),
    ('right_ankle',),
    ('left_hip',),
    ('left_knee',),
    ('left_ankle',),
    ('right_eye',),
    ('left_eye',),
    ('right_ear',),
    ('left_ear',),
    ('left_big_toe',),
    ('left_small_toe',),
    ('left_heel',),
    ('right_big_toe',),
    ('right_small_toe',),
    ('right_heel',),
)
#: Of a frame's number in the name of its file.
FRAME_DIGITS = 12
#: Other parts of a person in OpenPose's files, empty here.
OPENPOSE_PARTS = (
    'face_keypoints_2d',
    'hand_left_keypoints_2d',
    'hand_right_keypoints_2d',
    'pose_keypoints_3d',
    'face_keypoints_3d',
    'hand_left_keypoints_3d',
    'hand_right_keypoints_3d',
)


class CsvWriter:
    """Write a table with a row for each person and frame.

    The columns are ``file``, ``frame_id`` (empty for images), ``person`` (counted from 0 in each
    frame), ``track_id`` (empty where persons are not followed), the box ``x1``, ``y1``, ``x2``,
    ``y2`` in pixels, ``box_score``, and ``NAME_x``, ``NAME_y``, ``NAME_score`` for each keypoint.
    The file appears when the ``with`` block ends without an exception.

    Args:
        path (Path): The file.
        names (Sequence[str]): The keypoints' names.
    """

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        self.path, self._names = path, names
        self._part = path.with_name(f'.part-{path.name}')

    def __enter__(self) -> 'CsvWriter':
        # the name of a file may be no text
        self._file = self._part.open('w', newline='', encoding='utf-8', errors='backslashreplace')
        self._writer = csv.writer(self._file)
        columns = ['file', 'frame_id', 'person', 'track_id', 'x1', 'y1', 'x2', 'y2', 'box_score']
        columns += [f'{name}_{part}' for name in self._names for part in ('x', 'y', 'score')]
        self._writer.writerow(columns)
        return self

    def write(self, name: str, frame_id: int | None, instances: Iterable[dict]) -> None:
        """Append the persons of an image, or of a video's frame."""
        for index, person in enumerate(instances):
            row = [name, frame_id, index, person.get('track_id')]
            row += [f'{v:.2f}' for v in person['bbox'][0]]
            row.append(f'{person["bbox_score"]:.4f}')
            for (x, y), score in zip(person['keypoints'], person['keypoint_scores']):
                row += [f'{x:.2f}', f'{y:.2f}', f'{score:.4f}']
            self._writer.writerow(row)

    def __exit__(self, exception, *_) -> None:
        self._file.close()
        if exception is None:
            os.replace(self._part, self.path)


def to_openpose(instances: Iterable[dict], names: Sequence[str]) -> dict:
    """Return an image's persons as OpenPose writes them, in its order BODY_25.

    Keypoints that the model does not have are 0, 0, 0, as OpenPose has them for what it does not
    find. The neck and the middle of the hips are between the shoulders and between the hips, with
    the lower of the two scores.

    Args:
        instances (Iterable[dict]): Persons, see above.
        names (Sequence[str]): The model's keypoints' names.
    """
    people = []
    for person in instances:
        points = {
            name: (*point, score)
            for name, point, score in zip(names, person['keypoints'], person['keypoint_scores'])
        }
        values: list[float] = []
        for candidates in BODY_25:
            point = (0.0, 0.0, 0.0)
            for candidate in candidates:
                pair = (candidate,) if isinstance(candidate, str) else candidate
                if all(name in points for name in pair):
                    x, y, scores = zip(*(points[name] for name in pair))
                    point = sum(x) / len(pair), sum(y) / len(pair), min(scores)
                    break
            values += [round(float(v), 4) for v in point]
        people.append(
            dict(person_id=[person.get('track_id', -1)], pose_keypoints_2d=values)
            | {part: [] for part in OPENPOSE_PARTS}
        )
    return dict(version=1.3, people=people)


def write_openpose(
    folder: Path, key: str, frame_id: int | None, instances: Iterable[dict], names: Sequence[str]
) -> None:
    """Write the file of an image, or of a video's frame, under OpenPose's name for it.

    Args:
        folder (Path): Folder of the files.
        key (str): Name of the input without suffix.
        frame_id (int, optional): The frame's number in a video.
        instances (Iterable[dict]): Persons, see above.
        names (Sequence[str]): The model's keypoints' names.
    """
    frame = '' if frame_id is None else f'_{frame_id:0{FRAME_DIGITS}d}'
    text = json.dumps(to_openpose(instances, names))
    replace_file(folder / f'{key}{frame}_keypoints.json', text.encode())


def remove_openpose(folder: Path, key: str) -> None:
    """Remove the files of an input's frames, of which there may be fewer now.

    Args:
        folder (Path): Folder of the files.
        key (str): Name of the input without suffix.
    """
    number = '[0-9]' * FRAME_DIGITS
    for file in folder.glob(f'{glob.escape(key)}_{number}_keypoints.json'):
        file.unlink()
