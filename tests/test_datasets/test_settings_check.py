import copy
from pathlib import Path

import pytest
from mmengine.config import Config
from paths import COCO, LSPET, MPII

from lpn_mmpose.datasets.settings_check import metainfo_mistakes, require_fit, settings_mistakes
from lpn_mmpose.errors import InputError

METAINFO = dict(
    dataset_name='hands',
    keypoint_info={
        0: dict(name='nose', id=0, swap=''),
        1: dict(name='left', id=1, swap='right'),
        2: dict(name='right', id=2, swap='left'),
    },
    skeleton_info={0: dict(link=('left', 'right'), id=0)},
    joint_weights=[1.0] * 3,
    sigmas=[0.05] * 3,
)


def with_metainfo(metainfo):
    cfg = Config.fromfile(LSPET)
    for split in ('train', 'val', 'test'):
        cfg[f'{split}_dataloader'].dataset.metainfo = metainfo
    return cfg


@pytest.mark.parametrize('config', [COCO, MPII, LSPET], ids=['coco', 'mpii', 'lspet'])
def test_shipped_configs_fit(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert settings_mistakes(Config.fromfile(config), 'train', 'val', 'test') == []


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda m: m.update(sigmas=[0.05] * 2), 'sigmas has 2 values for 3 keypoints'),
        (lambda m: m.update(joint_weights=[1.0]), 'joint_weights has 1 values for 3'),
        (lambda m: m.update(sigmas=[0.05, 0, 0.05]), 'sigmas must be positive'),
        (lambda m: m['keypoint_info'][2].update(swap=''), "left has swap='right', and right"),
        (lambda m: m['keypoint_info'][1].update(swap='rihgt'), "swap='rihgt', which is no"),
        (
            lambda m: m.update(keypoint_info={i + 1: k for i, k in m['keypoint_info'].items()}),
            'keypoint_info has the ids 1, 2, 3; they must be 0, 1',
        ),
        (
            lambda m: m['skeleton_info'][0].update(link=('left', 'tail')),
            "skeleton_info[0].link: 'tail'",
        ),
        (lambda m: m['keypoint_info'][2].update(name='left'), "keypoint_info[2].name: 'left'"),
        (lambda m: m.pop('sigmas'), 'sigmas is missing'),
    ],
)
def test_metainfo(change, message):
    assert not list(metainfo_mistakes(METAINFO))
    metainfo = copy.deepcopy(METAINFO)
    change(metainfo)
    assert any(message in mistake for mistake in metainfo_mistakes(metainfo))
    cfg = with_metainfo(metainfo)
    with pytest.raises(InputError) as error:
        require_fit(cfg, 'train')
    assert 'train_dataloader.dataset.metainfo: ' in str(error.value)


def test_metainfo_file(tmp_path, monkeypatch):
    """A name that MMPose has, too, must not stand for a missing file."""
    monkeypatch.chdir(tmp_path)
    (line,) = settings_mistakes(with_metainfo(dict(from_file='my/coco.py')), 'train')
    assert line.startswith('train_dataloader.dataset.metainfo.from_file: my/coco.py')
    assert str(tmp_path) in line
    # relative to another directory
    path = Path('my/coco.py')
    path.parent.mkdir()
    names = {i: dict(name=f'k{i}', id=i, swap='') for i in range(14)}
    metainfo = {
        **METAINFO,
        'keypoint_info': names,
        'skeleton_info': {},
        'sigmas': [0.1] * 14,
        'joint_weights': [1.0] * 14,
    }
    path.write_text(f'dataset_info = {metainfo}')
    assert settings_mistakes(with_metainfo(dict(from_file='my/coco.py')), 'train') == []
    path.write_text('dataset_info = {')
    (line,) = settings_mistakes(with_metainfo(dict(from_file='my/coco.py')), 'train')
    assert 'metainfo.from_file: my/coco.py cannot be read: SyntaxError' in line


CODEC = dict(type='BetaSoftArgmaxHeatmap', input_size=(128, 128), heatmap_size=(32, 32), sigma=2)


@pytest.mark.parametrize(
    'options, key',
    [
        ({'model.head.out_channels': 13}, 'model.head.out_channels is 13, and the data have 14'),
        (
            {'model.head.decoder': {**CODEC, 'heatmap_size': (64, 64)}},
            'model.head.decoder.heatmap_size is (64, 64), and the model makes (32, 32)',
        ),
        (
            {'model.head.decoder': {**CODEC, 'input_size': (96, 128), 'heatmap_size': (24, 32)}},
            'train_dataloader.dataset.pipeline: TopdownAffine.input_size is (128, 128)',
        ),
        (
            {'model.head.deconv_out_channels': (256,), 'model.head.deconv_kernel_sizes': (4,)},
            'and the model makes (16, 16) of images of 128x128',
        ),
    ],
)
def test_model_and_codec(options, key, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg = Config.fromfile(LSPET)
    for name, value in options.items():
        target, _, last = name.rpartition('.')
        node = cfg
        for part in target.split('.'):
            node = node[part]
        node[last] = value
    assert any(key in mistake for mistake in settings_mistakes(cfg, 'train', 'val'))


def test_the_tools_say_it_first(fails, run, capsys, tmp_path):
    option = 'model.head.out_channels=13'
    line = fails('train.py', LSPET, '--work-dir', tmp_path / 'w', '--cfg-options', option)
    assert 'model.head.out_channels is 13' in line
    assert not (tmp_path / 'w').exists()
    with pytest.raises(SystemExit) as end:
        run('check_data.py', LSPET, '--cfg-options', option)
    assert end.value.code == 1
    assert 'model.head.out_channels is 13' in capsys.readouterr().out
