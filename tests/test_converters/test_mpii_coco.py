import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from synthetic import SIZE, make_mpii

from lpn_mmpose.dataset_converters import mpii_to_coco

TOOL = Path(__file__).parents[2] / 'tools/dataset_converters/mpii_to_coco.py'


@pytest.fixture
def mpii(tmp_path):
    """Four images of one person; the first joint of the second is not labelled."""
    make_mpii(tmp_path)
    path = tmp_path / 'annotations/mpii_train.json'
    people = json.loads(path.read_text())
    people[1]['joints'][0], people[1]['joints_vis'][0] = [-1, -1], 0
    people[2]['joints_vis'] = [1] * 3 + [0] * 13
    people.append(dict(people[3], joints=(np.array(people[3]['joints']) + 2).tolist()))
    path.write_text(json.dumps(people))
    return tmp_path


def convert(mpii):
    out = mpii / 'new/out.json'
    counts = mpii_to_coco(mpii / 'annotations/mpii_train.json', mpii / 'images', out)
    return counts, json.loads(out.read_text())


def test_joints_count_from_zero_and_persons_share_images(mpii):
    counts, coco = convert(mpii)
    assert counts == dict(images=3, persons=4, left_out=1)
    people = json.loads((mpii / 'annotations/mpii_train.json').read_text())
    first, second, third, fourth = coco['annotations']
    keypoints = np.reshape(first['keypoints'], (16, 3))
    np.testing.assert_allclose(keypoints[:, :2], np.array(people[0]['joints']) - 1)
    assert second['keypoints'][:3] == [0, 0, 0] and second['num_keypoints'] == 15
    assert third['image_id'] == fourth['image_id']
    assert coco['images'][0]['width'] == SIZE[0]
    x, y, w, h = first['bbox']
    assert x <= keypoints[:, 0].min() and x + w >= keypoints[:, 0].max()
    assert y <= keypoints[:, 1].min() and y + h >= keypoints[:, 1].max()


def test_names_are_mmposes(mpii):
    from mmpose.datasets.datasets.utils import parse_pose_metainfo

    meta = parse_pose_metainfo(dict(from_file='configs/_base_/datasets/mpii.py'))
    _, coco = convert(mpii)
    names = coco['categories'][0]['keypoints']
    assert names == [meta['keypoint_id2name'][i] for i in range(16)]


def test_tool_names_what_is_wrong(mpii):
    ann_file = mpii / 'annotations/mpii_train.json'
    command = [sys.executable, TOOL, ann_file, mpii / 'images', mpii / 'out.json']
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.stdout == '3 images, 4 persons, 1 left out\n', run.stderr
    (mpii / 'images/000000002.jpg').unlink()
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 1 and '000000002.jpg' in run.stderr
    ann_file.write_text('{"images": []}')
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 1
    assert len(run.stderr.splitlines()) == 1 and 'mpii_train.json is not' in run.stderr
