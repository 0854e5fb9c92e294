import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny_models

from lpn_mmpose.analysis.person_chain import COCO_SIGMAS, PersonChain
from lpn_mmpose.errors import InputError
from lpn_mmpose.runtime import PersonDetector, Persons, PoseRuntime

SIZE = (288, 192)
PERSONS = [[(0, 48, 96, 144), (192, 96, 288, 192)], [(96, 0, 192, 96)]]


def annotation(number, image_id, box, points=None, **kwargs):
    """Return a COCO annotation; ``box`` is xyxy."""
    keypoints = np.zeros((17, 3))
    if points is not None:
        rows = [list(COCO_SIGMAS).index(name) for name in tiny_models.NAMES]
        keypoints[rows, :2], keypoints[rows, 2] = points, 2
    keypoints[0] = 5, 5, 2  # a nose, which the model does not have
    x1, y1, x2, y2 = box
    return (
        dict(
            id=number,
            image_id=image_id,
            category_id=1,
            iscrowd=0,
            area=(x2 - x1) * (y2 - y1),
            bbox=[x1, y1, x2 - x1, y2 - y1],
            keypoints=keypoints.ravel().tolist(),
            num_keypoints=7,
        )
        | kwargs
    )


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """Two photographs of three persons, and the models that find them."""
    folder = tmp_path_factory.mktemp('coco')
    images, annotations = [], []
    for i, boxes in enumerate(PERSONS):
        pixels, keypoints = tiny_models.scene(boxes, SIZE)
        cv2.imwrite(str(folder / f'{i}.png'), pixels)
        images.append(dict(id=i + 1, file_name=f'{i}.png', width=SIZE[0], height=SIZE[1]))
        annotations += [
            annotation(10 * i + j + 1, i + 1, box, points)
            for j, (box, points) in enumerate(zip(boxes, keypoints))
        ]
    path = folder / 'coco.json'
    path.write_text(json.dumps(dict(images=images, annotations=annotations)))
    tiny_models.save_pose(folder / 'pose.onnx')
    tiny_models.save_detector(folder / 'detector.onnx')
    return folder


@pytest.fixture(scope='module')
def chain(data):
    pose = PoseRuntime(data / 'pose.onnx', threads=1)
    detector = PersonDetector(data / 'detector.onnx', threads=1, score_thr=0.7)
    return PersonChain(data / 'coco.json', data, pose, detector)


def test_both_ways_find_all(chain):
    given, found = {}, {}
    for image, with_given, with_found in chain.run():
        given[image['id']], found[image['id']] = with_given, with_found
    assert set(chain.joints) == set(tiny_models.NAMES)
    for persons in (given, found):
        assert chain.average_precision(persons)['AP'] > 0.99
    counts = chain.count_boxes(found)
    assert (counts['persons'], counts['found'], counts['matched'], counts['boxes']) == (3, 3, 3, 3)
    # without the boxes of one photograph, one of three persons is lost
    lost = chain.average_precision({1: found[1]})
    assert lost['AR'] == pytest.approx(2 / 3, abs=0.01)
    assert chain.average_precision({})['AP'] == 0


def test_what_boxes_are_of(data, chain, tmp_path):
    content = json.loads((data / 'coco.json').read_text())
    content['annotations'].append(annotation(99, 2, (200, 100, 288, 192), iscrowd=1))
    path = tmp_path / 'crowd.json'
    path.write_text(json.dumps(content))
    chain = PersonChain(path, data, chain.pose, chain.detector)
    boxes = {
        1: [(0, 48, 96, 144), (4, 50, 98, 146), (10, 60, 40, 90)],  # a person, again, a part
        2: [(210, 110, 250, 150), (0, 100, 60, 192)],  # in a crowd, nobody
    }
    found = {
        key: Persons(
            np.zeros((len(b), 6, 2)), np.zeros((len(b), 6)), np.array(b, float), np.ones(len(b))
        )
        for key, b in boxes.items()
    }
    assert chain.count_boxes(found) == dict(
        persons=3, found=1, boxes=5, matched=1, twice=1, parts=1, crowd=1, other=1, recall=1 / 3
    )


def test_unusable_annotations(data, chain, tmp_path):
    path = tmp_path / 'bad.json'
    path.write_text('{"images": []}')
    with pytest.raises(InputError, match='bad.json'):
        PersonChain(path, data, chain.pose, chain.detector)


def test_command(data, tmp_path):
    tool = Path(__file__).parents[1] / 'tools/analysis/evaluate_persons.py'
    args = [data / 'coco.json', data, '--det', data / 'detector.onnx', '--det-thr', '0.7']
    args += ['--model', data / 'pose.onnx', '--out-dir', tmp_path]
    run = subprocess.run([sys.executable, tool, *args], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert 'persons larger than 32x32: 3, with a box of IoU 0.5: 3 (1.000)' in run.stdout
    assert json.loads((tmp_path / 'persons.json').read_text())['boxes']['matched'] == 3
    assert cv2.imread(str(tmp_path / '0.png')).shape == (SIZE[1], SIZE[0], 3)
