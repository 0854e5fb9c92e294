from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData
from mmpose.codecs import MSRAHeatmap
from mmpose.registry import KEYPOINT_CODECS, MODELS
from mmpose.structures import PoseDataSample

import lpn_mmpose.codecs
import lpn_mmpose.models  # noqa: F401

GOLDEN = Path(__file__).parent / 'golden'
CODEC = dict(type='BetaSoftArgmaxHeatmap', input_size=(192, 256), heatmap_size=(48, 64), sigma=2)


@pytest.fixture(scope='module')
def golden():
    return np.load(GOLDEN / 'decode_17x64x48.npz')


def test_encode_is_msra():
    codec = KEYPOINT_CODECS.build(CODEC)
    msra = MSRAHeatmap((192, 256), (48, 64), 2)
    rng = np.random.RandomState(0)
    keypoints = rng.rand(1, 17, 2) * (192, 256)
    visible = rng.randint(0, 2, (1, 17)).astype(np.float32)
    encoded = codec.encode(keypoints, visible)
    for key, value in msra.encode(keypoints, visible).items():
        np.testing.assert_array_equal(encoded[key], value)


def test_round_trip():
    codec = KEYPOINT_CODECS.build(dict(CODEC, quarter_offset=False))
    x, y = np.meshgrid(np.arange(12, 40, 4), np.arange(12, 56, 4))
    # the encoder rounds to whole heatmap pixels, of 4 input pixels each
    keypoints = 4.0 * np.stack([x.ravel(), y.ravel()], -1)[None]
    encoded = codec.encode(keypoints)
    decoded, scores = codec.decode(encoded['heatmaps'])
    assert decoded.shape == keypoints.shape
    assert scores.shape == keypoints.shape[:2]
    np.testing.assert_allclose(decoded, keypoints, rtol=0, atol=1e-2)
    np.testing.assert_allclose(scores, 1, atol=1e-3)


@pytest.mark.parametrize('beta, decoder', [(160.0, 'softargmax'), (None, 'argmax')])
@pytest.mark.parametrize('quarter_offset', [True, False])
def test_decode_golden_in_the_image(golden, quarter_offset, beta, decoder):
    """Head, codec and MMPose's way back against the original's affine."""
    model = MODELS.build(
        dict(
            type='TopdownPoseEstimator',
            backbone=dict(type='LPN', depth=50),
            head=dict(
                type='LPNHead',
                out_channels=17,
                decoder=dict(CODEC, beta=beta, quarter_offset=quarter_offset),
            ),
        )
    )
    preds = model.head.decode(torch.from_numpy(golden['heatmaps']))
    samples = []
    for center, scale in zip(golden['center'], golden['scale']):
        sample = PoseDataSample(
            metainfo=dict(input_size=(192, 256), input_center=center, input_scale=scale)
        )
        sample.gt_instances = InstanceData(bboxes=np.zeros((1, 4)), bbox_scores=np.ones(1))
        samples.append(sample)
    samples = model.add_pred_to_datasample(preds, None, samples)
    keypoints = np.concatenate([s.pred_instances.keypoints for s in samples])
    scores = np.concatenate([s.pred_instances.keypoint_scores for s in samples])
    name = 'quarter' if quarter_offset else 'raw'
    np.testing.assert_allclose(keypoints, golden[f'{decoder}_{name}'], rtol=0, atol=1e-3)
    np.testing.assert_allclose(scores, golden[f'{decoder}_maxvals'][..., 0], rtol=0, atol=1e-7)


def test_maxima_at_the_border_stay():
    """HRNet's code shifts both coordinates or none, MMPose each alone."""
    heatmaps = np.zeros((1, 64, 48), np.float32)
    heatmaps[0, 30, 1], heatmaps[0, 31, 1] = 1, 0.5
    codec = KEYPOINT_CODECS.build(dict(CODEC, beta=None))
    keypoints, _ = codec.decode(heatmaps)
    assert keypoints.tolist() == [[[4 * 1, 4 * 30]]]
    keypoints, _ = MSRAHeatmap((192, 256), (48, 64), 2).decode(heatmaps)
    assert keypoints.tolist() == [[[4 * 1, 4 * 30.25]]]


def test_batch_decode_is_decode_of_each(golden):
    codec = KEYPOINT_CODECS.build(CODEC)
    assert codec.support_batch_decoding
    heatmaps = torch.from_numpy(golden['heatmaps'])
    batch_keypoints, batch_scores = codec.batch_decode(heatmaps)
    assert len(batch_keypoints) == len(batch_scores) == 8
    for heatmap, keypoints, scores in zip(golden['heatmaps'], batch_keypoints, batch_scores):
        assert keypoints.shape == (1, 17, 2) and scores.shape == (1, 17)
        one_keypoints, one_scores = codec.decode(heatmap)
        np.testing.assert_allclose(keypoints, one_keypoints, atol=1e-4)
        np.testing.assert_array_equal(scores, one_scores)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_batch_decode_half_precision(golden, dtype):
    codec = KEYPOINT_CODECS.build(CODEC)
    half = torch.from_numpy(golden['heatmaps']).to(dtype).requires_grad_()
    keypoints, scores = codec.batch_decode(half)
    expected, expected_scores = codec.batch_decode(half.float())
    np.testing.assert_array_equal(keypoints, expected)
    np.testing.assert_array_equal(scores, expected_scores)


def test_beta_reaches_the_softmax():
    heatmaps = np.zeros((1, 64, 48), np.float32)
    heatmaps[0, 10, 20] = 1
    flat, _ = KEYPOINT_CODECS.build(dict(CODEC, beta=1e-6, quarter_offset=False)).decode(heatmaps)
    sharp, _ = KEYPOINT_CODECS.build(dict(CODEC, beta=160, quarter_offset=False)).decode(heatmaps)
    np.testing.assert_allclose(flat, [[[4 * 23.5, 4 * 31.5]]], rtol=1e-4)
    np.testing.assert_allclose(sharp, [[[80, 40]]], rtol=1e-4)


@pytest.mark.parametrize('beta', [0, -1.0, float('nan')])
def test_beta_must_be_positive(beta):
    with pytest.raises(ValueError, match='beta must be positive'):
        KEYPOINT_CODECS.build(dict(CODEC, beta=beta))
