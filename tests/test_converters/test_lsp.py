import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.io import savemat

from lpn_mmpose.dataset_converters import convert_lsp
from lpn_mmpose.dataset_converters.lspet import CROWDPOSE_KEYPOINTS, LSPET_KEYPOINTS

TOOL = Path(__file__).parents[2] / 'tools/dataset_converters/lsp_to_coco.py'


@pytest.fixture
def lsp(tmp_path):
    """Three images of 120 x 100; joint j of image i is at (10 + 5j, 20 + i).

    In image 2 the left knee is occluded and the neck outside.
    """
    src = tmp_path / 'lsp'
    (src / 'images').mkdir(parents=True)
    joints = np.zeros((3, 14, 3))
    for i in range(3):
        image = np.full((100, 120, 3), 60 * i, np.uint8)
        cv2.imwrite(str(src / f'images/im{i + 1:04d}.jpg'), image)
        joints[0, :, i] = 10 + 5 * np.arange(14)
        joints[1, :, i] = 20 + i
    joints[2, LSPET_KEYPOINTS.index('left_knee'), 1] = 1
    joints[0, LSPET_KEYPOINTS.index('neck'), 1] = 500
    savemat(src / 'joints.mat', dict(joints=joints))
    return src


def read(path):
    coco = json.loads(path.read_text())
    keypoints = np.reshape([a['keypoints'] for a in coco['annotations']], (-1, 14, 3))
    return coco, [dict(zip(CROWDPOSE_KEYPOINTS, person.tolist())) for person in keypoints]


def test_occluded_joints_are_labelled(lsp, tmp_path):
    summary = convert_lsp(lsp, tmp_path / 'out')
    assert (summary.split, summary.images, summary.joints_outside) == ('train', 3, 1)
    coco, persons = read(tmp_path / 'out/lsp_train.json')
    assert [image['file_name'] for image in coco['images']] == [
        'im0001.jpg',
        'im0002.jpg',
        'im0003.jpg',
    ]
    j = LSPET_KEYPOINTS.index('left_knee')
    assert [p['left_knee'] for p in persons] == [
        [10 + 5 * j, 20 + i, 1 if i == 1 else 2] for i in range(3)
    ]
    assert persons[1]['neck'] == [0, 0, 0]
    assert [a['num_keypoints'] for a in coco['annotations']] == [14, 13, 14]


def test_range(lsp, tmp_path):
    convert_lsp(lsp, tmp_path, 'test', 2, 3)
    coco, persons = read(tmp_path / 'lsp_test.json')
    assert [image['id'] for image in coco['images']] == [2, 3]
    assert persons[0]['top_head'][1] == 21
    with pytest.raises(ValueError, match='1 to 3, got 3 and 4'):
        convert_lsp(lsp, tmp_path, 'test', 3, 4)


def test_joints_of_the_extended_set_are_refused(lsp, tmp_path):
    savemat(lsp / 'joints.mat', dict(joints=np.ones((14, 3, 3))))
    with pytest.raises(ValueError, match=r'joints.mat.*\(3, 14, N\)'):
        convert_lsp(lsp, tmp_path)


def test_tool(lsp, tmp_path):
    command = [sys.executable, TOOL, lsp, tmp_path / 'out', '--range', '1', '2']
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split()[:3] == ['train:', 'images', '2']
    (lsp / 'joints.mat').unlink()
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 1
    assert len(run.stderr.splitlines()) == 1 and 'joints.mat' in run.stderr
