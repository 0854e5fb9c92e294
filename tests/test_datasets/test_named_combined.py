from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope
from synthetic import make_all

from lpn_mmpose.analysis.predictions import keypoint_meta
from lpn_mmpose.datasets import NamedCombinedDataset
from lpn_mmpose.utils import config

CONFIG = (
    Path(__file__).parents[2]
    / 'configs/body_2d_keypoint/lpn/body19/td-hm_lpn50_2xb16-60e_body19-128x128.py'
)


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """The body config's training set, without pictures."""
    monkeypatch.chdir(make_all(tmp_path))
    init_default_scope('mmpose')
    settings = Config.fromfile(CONFIG).train_dataloader.dataset
    return {
        **{k: v for k, v in settings.items() if k != 'type'},
        'pipeline': [],
        'sample_ratio_factor': None,
    }


def test_each_sample_has_its_sets_name_and_joints(settings):
    dataset = NamedCombinedDataset(**settings)
    assert dataset.lens == [4, 4, 4, 4]
    names = [dataset.metainfo['keypoint_id2name'][i] for i in range(19)]
    face = set(names[:5])
    for start, source in zip(range(0, 16, 4), ('lspet', 'lsp', 'mpii', 'coco')):
        sample = dataset[start]
        assert sample['dataset_name'] == source
        labelled = {n for n, v in zip(names, sample['keypoints_visible'][0, :, 0]) if v > 0}
        # the first image's second joint is not labelled
        if source == 'coco':
            missing = {'left_eye', 'head', 'neck'}
        elif source == 'mpii':
            missing = face | {'right_knee'}
        else:
            missing = face | {'right_shoulder'}
        assert labelled == set(names) - missing
        swapped = [names[i] for i in sample['flip_indices']]
        assert swapped[5:7] == ['right_shoulder', 'left_shoulder']


def test_joints_keep_their_places(settings):
    """A joint of each layout is where its data set has it."""
    from lpn_mmpose.datasets import LspetDataset

    dataset = NamedCombinedDataset(**settings)
    names = [dataset.metainfo['keypoint_id2name'][i] for i in range(19)]
    plain = LspetDataset(
        data_root='data/lspet/',
        ann_file='annotations/lspet_train.json',
        data_prefix=dict(img='images/'),
    )
    crowdpose = plain.metainfo['keypoint_name2id']
    for theirs, ours in (('left_wrist', 'left_wrist'), ('top_head', 'head'), ('neck', 'neck')):
        expected = plain[0]['keypoints'][0, crowdpose[theirs]]
        assert dataset[0]['keypoints'][0, names.index(ours)].tolist() == expected.tolist()


@pytest.mark.parametrize('names', [['a', 'b', 'c'], ['a', 'b', 'c', 'a']])
def test_names_must_be_different_and_as_many(settings, names):
    with pytest.raises(ValueError, match='4 different'):
        NamedCombinedDataset(**{**settings, 'names': names})


def test_tools_see_the_wrappers_keypoints_and_pipeline():
    cfg = Config.fromfile(CONFIG)
    assert [step['type'] for step in config.test_pipeline(cfg)] == [
        'KeypointConverter',
        'LoadImage',
        'GetBBoxCenterScale',
        'TopdownAffine',
        'PackPoseInputs',
    ]
    meta = keypoint_meta(cfg)
    assert meta['num_keypoints'] == 19 and meta['keypoint_id2name'][17] == 'head'
