import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.registry import init_default_scope
from scipy.io import savemat

from lpn_mmpose.dataset_converters import convert_lspet
from lpn_mmpose.dataset_converters.lspet import (
    CROWDPOSE_KEYPOINTS,
    LSPET_KEYPOINTS,
    keypoints_bbox,
)

TOOL = Path(__file__).parents[2] / 'tools/dataset_converters/lspet_to_coco.py'


@pytest.fixture
def lspet(tmp_path):
    """Three images of 120 x 100; joint j of image i is at (10 + 5j, 20 + i).

    Image 2 has an unlabelled joint and one outside; image 3 has one joint.
    """
    src = tmp_path / 'lspet'
    (src / 'images').mkdir(parents=True)
    joints = np.zeros((14, 3, 3))
    for i in range(3):
        cv2.imwrite(
            str(src / f'images/im{i + 1:05d}.jpg'), np.full((100, 120, 3), 60 * i, np.uint8)
        )
        joints[:, 0, i] = 10 + 5 * np.arange(14)
        joints[:, 1, i] = 20 + i
        joints[:, 2, i] = 1
    joints[LSPET_KEYPOINTS.index('left_wrist'), :, 1] = (-30, -20, 0)
    joints[LSPET_KEYPOINTS.index('neck'), :2, 1] = (500, 20)
    joints[1:, 2, 2] = 0
    savemat(src / 'joints.mat', dict(joints=joints))
    return src


def test_order_is_crowdposes():
    from mmpose.datasets.datasets.utils import parse_pose_metainfo

    import lpn_mmpose.datasets  # noqa: F401

    meta = parse_pose_metainfo(dict(from_file='configs/_base_/datasets/crowdpose.py'))
    names = [meta['keypoint_id2name'][i] for i in range(14)]
    assert tuple(names) == CROWDPOSE_KEYPOINTS
    assert sorted(names) == sorted(LSPET_KEYPOINTS)


def test_convert(lspet, tmp_path):
    splits = tmp_path / 'splits.json'
    splits.write_text(json.dumps(dict(train=['im00001.jpg', 'im00003.jpg'], val=['im00002.jpg'])))
    train, val = convert_lspet(lspet, tmp_path / 'out', splits)

    assert (train.images, train.keypoints) == (1, 14)
    assert train.images_too_few_joints == ['im00003.jpg']
    assert (val.joints_unlabelled, val.joints_outside) == (1, 1)
    assert 'images too few joints' in str(train)

    coco = json.loads((tmp_path / 'out/lspet_val.json').read_text())
    (image,) = coco['images']
    assert (image['width'], image['height']) == (120, 100)
    (annotation,) = coco['annotations']
    keypoints = np.reshape(annotation['keypoints'], (14, 3))
    at = dict(zip(CROWDPOSE_KEYPOINTS, keypoints))
    assert at['left_wrist'].tolist() == [0, 0, 0]
    assert at['neck'].tolist() == [0, 0, 0]
    j = LSPET_KEYPOINTS.index('left_hip')
    assert at['left_hip'].tolist() == [10 + 5 * j, 21, 2]
    assert annotation['num_keypoints'] == 12 == (keypoints[:, 2] > 0).sum()


def test_bbox_has_a_margin_and_stays_inside():
    keypoints = np.array([[5.0, 50.0], [55.0, 90.0]])
    assert keypoints_bbox(keypoints, (120, 100), 0) == [5, 50, 50, 40]
    assert keypoints_bbox(keypoints, (120, 100), 0.2) == [0, 40, 65, 59]


def test_without_splits_all_images_train(lspet, tmp_path):
    (lspet / 'images/im00002.jpg').unlink()
    (summary,) = convert_lspet(lspet, tmp_path / 'out', min_joints=1)
    assert (summary.split, summary.images) == ('train', 2)


def test_missing_images_are_counted(lspet, tmp_path):
    splits = tmp_path / 'splits.json'
    splits.write_text(json.dumps(dict(train=['im00001.jpg', 'im00002.jpg'])))
    (lspet / 'images/im00002.jpg').unlink()
    (summary,) = convert_lspet(lspet, tmp_path / 'out', splits)
    assert summary.images_missing == ['im00002.jpg']


def test_bad_split_name_is_refused(lspet, tmp_path):
    splits = tmp_path / 'splits.json'
    splits.write_text(json.dumps(dict(train=['im00004.jpg'])))
    with pytest.raises(ValueError, match='im00004.jpg'):
        convert_lspet(lspet, tmp_path / 'out', splits)


@pytest.mark.parametrize('content', ['{', '["im00001.jpg"]', '{}', ''])
def test_bad_splits_file_is_named(lspet, tmp_path, content):
    splits = tmp_path / 'splits.json'
    splits.write_text(content)
    with pytest.raises(ValueError, match='splits.json'):
        convert_lspet(lspet, tmp_path / 'out', splits)


def test_tool_prints_the_summary_and_names_what_is_missing(lspet, tmp_path):
    run = subprocess.run(
        [sys.executable, TOOL, lspet, tmp_path / 'out'], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.split()[:3] == ['train:', 'images', '2']
    run = subprocess.run(
        [sys.executable, TOOL, tmp_path / 'no', tmp_path / 'out'], capture_output=True, text=True
    )
    assert run.returncode == 1
    assert len(run.stderr.splitlines()) == 1 and 'joints.mat' in run.stderr


def test_dataset_reads_what_the_converter_wrote(lspet, tmp_path):
    from lpn_mmpose.datasets import LspetDataset

    convert_lspet(lspet, tmp_path / 'out')
    init_default_scope('mmpose')
    dataset = LspetDataset(
        ann_file=str(tmp_path / 'out/lspet_train.json'),
        data_prefix=dict(img=f'{lspet}/images/'),
        pipeline=[dict(type='LoadImage')],
    )
    assert len(dataset) == 2
    sample = dataset[1]
    assert sample['img'].shape == (100, 120, 3)
    assert sample['keypoints_visible'].sum() == 12
    flip = [CROWDPOSE_KEYPOINTS[i] for i in dataset.metainfo['flip_indices']]
    assert flip[:2] == ['right_shoulder', 'left_shoulder']
