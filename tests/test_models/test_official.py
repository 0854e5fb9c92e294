import json
from pathlib import Path

import pytest
import torch
from mmpose.registry import MODELS

from lpn_mmpose.zoo import original_checkpoints as official

GOLDEN = Path(__file__).parents[1] / 'golden'


def pose_estimator(depth, attention, out_channels):
    return MODELS.build(
        dict(
            type='TopdownPoseEstimator',
            backbone=dict(type='LPN', depth=depth, attention=attention),
            head=dict(type='LPNHead', out_channels=out_channels),
        )
    )


@pytest.mark.parametrize('attention', ['GC', 'SE', None])
@pytest.mark.parametrize('depth', [50, 101, 152])
def test_bijection(depth, attention):
    ours = pose_estimator(depth, attention, 14).state_dict()
    original = official.to_original(ours)
    assert len(original) == len(ours)
    assert not original.keys() & ours.keys()
    back = official.from_original(original)
    assert list(back) == list(ours)
    assert all(back[key] is ours[key] for key in ours)
    assert official.infer_architecture(back) == dict(
        method=f'lpn_{depth}', attention=attention, out_channels=14
    )


def test_original_keys_of_se():
    original = official.to_original(pose_estimator(50, 'SE', 17).state_dict())
    attention = {key for key in original if key.startswith('layer4.2.att.')}
    assert attention == {'layer4.2.att.fc.0.weight', 'layer4.2.att.fc.2.weight'}


@pytest.mark.parametrize(
    'name, depth, out_channels',
    [
        ('lpn50_coco_256x192_gc', 50, 17),
        ('lpn101_coco_256x192_gc', 101, 17),
        ('lpn50_mpii_256x256_gc', 50, 16),
    ],
)
def test_original_manifests(name, depth, out_channels):
    manifest = json.loads((GOLDEN / f'{name}.json').read_text())
    model = pose_estimator(depth, 'GC', out_channels)
    shapes = {k: list(v.shape) for k, v in model.state_dict().items()}
    assert official.from_original(manifest) == shapes
    assert official.to_original(shapes) == manifest


@pytest.mark.parametrize('prefix', ['', 'module.'])
@pytest.mark.parametrize('wrapped', [False, True])
def test_wrappers(prefix, wrapped):
    state_dict = {f'{prefix}layer1.0.conv2.weight': torch.ones(1)}
    checkpoint = state_dict
    if wrapped:
        checkpoint = dict(epoch=3, state_dict=state_dict)
    assert official.from_original(checkpoint) == {
        'backbone.layer1.0.conv2.conv.weight': torch.ones(1)
    }


@pytest.mark.parametrize(
    'key',
    [
        'layer1.0.conv4.weight',
        'deconv_layers.2.weight',
        'fc.weight',
        'layer1.0.conv1.weight.extra',
        'xlayer1.0.conv1.weight',
        'layer1.0.att.gamma',
        'backbone.stem.conv.weight',
    ],
)
def test_unknown_original_keys_are_named(key):
    with pytest.raises(ValueError) as error:
        official.from_original({'conv1.weight': 0, key: 1, 'other.bias': 2})
    assert "2 of 3 keys are not those of LPN's original code" in str(error.value)
    assert repr(key) in str(error.value)
    assert "'other.bias'" in str(error.value)


@pytest.mark.parametrize(
    'key',
    [
        'backbone.conv1.weight',
        'head.deconv_layers.4.conv.weight',
        'head.deconv_layers.0.weight',
        'conv1.weight',
    ],
)
def test_unknown_own_keys_are_named(key):
    with pytest.raises(ValueError, match="LPN's original code in MMPose") as error:
        official.to_original({key: 1})
    assert repr(key) in str(error.value)


def test_infer_architecture_refuses_other_weights():
    state_dict = pose_estimator(50, 'GC', 17).state_dict()
    fewer = {k: v for k, v in state_dict.items() if '.layer3.5.' not in k}
    with pytest.raises(ValueError, match=r'\(3, 4, 5, 3\) blocks'):
        official.infer_architecture(fewer)
    with pytest.raises(ValueError, match='blocks'):
        official.infer_architecture({k: v for k, v in state_dict.items() if 'head' in k})
    headless = {k: v for k, v in state_dict.items() if 'final' not in k}
    with pytest.raises(ValueError, match='head.final_layer.weight'):
        official.infer_architecture(headless)
    mixed = dict(state_dict)
    mixed['backbone.layer1.0.attention.fc.0.weight'] = torch.ones(1)
    with pytest.raises(ValueError, match='more than one'):
        official.infer_architecture(mixed)
