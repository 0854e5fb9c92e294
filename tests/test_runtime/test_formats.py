import csv
import json

import pytest

from lpn_mmpose.runtime.formats import CsvWriter, to_openpose, write_openpose

NAMES = ('left_shoulder', 'right_shoulder', 'left_hip', 'right_hip', 'right_ankle')
PERSON = dict(
    keypoints=[[10, 20], [30, 24], [12, 60], [28, 62], [27, 99.126]],
    keypoint_scores=[0.9, 0.5, 0.8, 0.7, 0.25],
    bbox=[[1, 2, 40, 110]],
    bbox_score=0.75,
)


def test_csv(tmp_path):
    path = tmp_path / 'results.csv'
    with CsvWriter(path, NAMES) as file:
        file.write('a/photo, big.jpg', None, [PERSON, PERSON])
        file.write('b.mp4', 3, [PERSON | dict(track_id=7)])
        file.write('b.mp4', 4, [])
        assert not path.exists()
    with path.open(newline='') as file:
        rows = list(csv.DictReader(file))
    assert [(r['file'], r['frame_id'], r['person'], r['track_id']) for r in rows] == [
        ('a/photo, big.jpg', '', '0', ''),
        ('a/photo, big.jpg', '', '1', ''),
        ('b.mp4', '3', '0', '7'),
    ]
    assert [float(rows[2][k]) for k in ('x1', 'y1', 'x2', 'y2', 'box_score')] == [
        *(1, 2, 40, 110),
        0.75,
    ]
    assert float(rows[0]['right_ankle_y']) == 99.13
    assert float(rows[0]['right_ankle_score']) == 0.25
    assert len(rows[0]) == 9 + 3 * len(NAMES)


def test_csv_of_a_failed_run_keeps_the_one_before(tmp_path):
    path = tmp_path / 'results.csv'
    path.write_text('before')
    with pytest.raises(RuntimeError), CsvWriter(path, NAMES) as file:
        file.write('a.jpg', None, [PERSON])
        raise RuntimeError
    assert path.read_text() == 'before'


def test_openpose_body_25():
    content = to_openpose([PERSON, PERSON | dict(track_id=4)], NAMES)
    first, second = content['people']
    assert first['person_id'] == [-1] and second['person_id'] == [4]
    values = first['pose_keypoints_2d']
    points = [values[i : i + 3] for i in range(0, 75, 3)]
    assert len(values) == 75
    assert points[0] == [0, 0, 0]  # no nose
    assert points[1] == [20, 22, 0.5]  # between the shoulders
    assert points[2] == [30, 24, 0.5] and points[5] == [10, 20, 0.9]
    assert points[8] == [20, 61, 0.7]
    assert points[11] == [27, 99.126, 0.25] and points[14] == [0, 0, 0]
    assert first['hand_left_keypoints_2d'] == []


def test_openpose_neck_of_a_model_without_shoulders():
    person = dict(keypoints=[[5, 6]], keypoint_scores=[0.5])
    (found,) = to_openpose([person], ['neck'])['people']
    assert found['pose_keypoints_2d'][3:6] == [5, 6, 0.5]


def test_openpose_file_names(tmp_path):
    write_openpose(tmp_path, 'a/photo', None, [PERSON], NAMES)
    write_openpose(tmp_path, 'walk', 12, [], NAMES)
    assert len(json.loads((tmp_path / 'a/photo_keypoints.json').read_text())['people']) == 1
    assert json.loads((tmp_path / 'walk_000000000012_keypoints.json').read_text())['people'] == []
