import json

import numpy as np
import pytest
from mmengine.registry import init_default_scope
from mmpose.datasets.datasets import MpiiDataset
from synthetic import make_mpii

from lpn_mmpose.datasets import ZeroBasedMpiiDataset


@pytest.mark.parametrize('test_mode', [False, True])
def test_training_joints_count_from_zero(tmp_path, test_mode):
    make_mpii(tmp_path, 2)
    init_default_scope('mmpose')
    ann_file = tmp_path / 'annotations/mpii_train.json'
    joints = np.array(json.loads(ann_file.read_text())[1]['joints'])
    ours, theirs = (
        dataset(
            ann_file=str(ann_file), data_prefix=dict(img=f'{tmp_path}/images/'), test_mode=test_mode
        ).get_data_info(1)
        for dataset in (ZeroBasedMpiiDataset, MpiiDataset)
    )
    np.testing.assert_allclose(ours['keypoints'][0], joints if test_mode else joints - 1, atol=1e-4)
    np.testing.assert_allclose(theirs['keypoints'][0], joints, atol=1e-4)
    for key in ('bbox_center', 'bbox_scale', 'keypoints_visible'):
        np.testing.assert_array_equal(ours[key], theirs[key])
