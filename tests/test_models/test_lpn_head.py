from math import gcd

import numpy as np
import pytest
import torch
from mmpose.registry import MODELS
from mmpose.testing import get_packed_inputs
from torch import nn

import lpn_mmpose.codecs
import lpn_mmpose.models  # noqa: F401

DECODER = dict(type='BetaSoftArgmaxHeatmap', input_size=(192, 256), heatmap_size=(48, 64), sigma=2)


def build(**kwargs):
    return MODELS.build(dict(type='LPNHead', **kwargs))


def features(batch_size=2, channels=512, size=(16, 12)):
    generator = torch.Generator().manual_seed(0)
    return (torch.rand(batch_size, channels, *size, generator=generator),)


def test_default():
    head = build().eval()
    with torch.no_grad():
        assert head(features()).shape == (2, 17, 64, 48)
    assert sum(p.numel() for p in head.parameters()) == 149777
    assert isinstance(head.final_layer, nn.Conv2d)
    assert head.final_layer.kernel_size == (1, 1)
    assert head.final_layer.bias is not None


@pytest.mark.parametrize(
    'in_channels, channels', [(512, (256, 256)), (256, (128, 64)), (96, (64,))]
)
def test_deconvolutions_are_grouped_by_gcd(in_channels, channels):
    head = build(
        in_channels=in_channels,
        out_channels=14,
        deconv_out_channels=channels,
        deconv_kernel_sizes=(4,) * len(channels),
    ).eval()
    previous = in_channels
    for deconv, pointwise, out in zip(head.deconv_layers[::2], head.deconv_layers[1::2], channels):
        assert isinstance(deconv.conv, nn.ConvTranspose2d)
        assert deconv.conv.groups == gcd(previous, out)
        assert pointwise.conv.kernel_size == (1, 1)
        for module in (deconv, pointwise):
            assert module.conv.bias is None
            assert isinstance(module.bn, nn.BatchNorm2d)
            assert isinstance(module.activate, nn.ReLU)
        previous = out
    zoom = 2 ** len(channels)
    with torch.no_grad():
        out = head(features(1, in_channels, (4, 3)))
    assert out.shape == (1, 14, 4 * zoom, 3 * zoom)


@pytest.mark.parametrize('kernel_size', [2, 3, 4])
def test_each_kernel_size_doubles_the_size(kernel_size):
    head = build(deconv_kernel_sizes=(kernel_size, kernel_size)).eval()
    with torch.no_grad():
        assert head(features()).shape == (2, 17, 64, 48)


def test_without_deconvolutions():
    head = build(deconv_out_channels=None, deconv_kernel_sizes=None).eval()
    with torch.no_grad():
        assert head(features()).shape == (2, 17, 16, 12)


def test_intermediate_convolutions():
    head = build(conv_out_channels=(32,), conv_kernel_sizes=(3,)).eval()
    with torch.no_grad():
        assert head(features()).shape == (2, 17, 64, 48)


@pytest.mark.parametrize(
    'kwargs, message',
    [
        (dict(deconv_kernel_sizes=(4, 5)), r'from \[2, 3, 4\], got 5'),
        (dict(deconv_kernel_sizes=(4,)), 'mismatched lengths'),
        (dict(deconv_out_channels=(256,)), 'mismatched lengths'),
        (dict(deconv_kernel_sizes=None), 'mismatched lengths'),
    ],
)
def test_bad_arguments_raise(kwargs, message):
    with pytest.raises(ValueError, match=message):
        build(**kwargs)


def test_norm_cfg_reaches_every_layer():
    head = build(norm_cfg=dict(type='GN', num_groups=32))
    kinds = [type(m) for m in head.modules()]
    assert kinds.count(nn.GroupNorm) == 4
    assert kinds.count(nn.BatchNorm2d) == 0


def test_default_init():
    head = build()
    head.init_weights()
    convs = [m for m in head.modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d))]
    assert len(convs) == 5
    for conv in convs:
        assert 0.0009 < conv.weight.std() < 0.0011
    assert (head.final_layer.bias == 0).all()


def test_loss():
    head = build(decoder=DECODER)
    samples = get_packed_inputs(batch_size=2)['data_samples']
    losses = head.loss(features(), samples)
    assert losses['loss_kpt'].shape == () and losses['loss_kpt'] > 0
    assert 0 <= losses['acc_pose'] <= 1
    losses['loss_kpt'].backward()
    assert all(p.grad is not None for p in head.parameters())


def test_predict():
    head = build(decoder=DECODER).eval()
    samples = get_packed_inputs(batch_size=2)['data_samples']
    with torch.no_grad():
        preds, fields = head.predict(features(), samples, test_cfg=dict(output_heatmaps=True))
    assert len(preds) == len(fields) == 2
    for pred, field in zip(preds, fields):
        assert pred.keypoints.shape == (1, 17, 2)
        assert pred.keypoint_scores.shape == (1, 17)
        assert field.heatmaps.shape == (17, 64, 48)
        keypoints, scores = head.decoder.decode(field.heatmaps.numpy())
        np.testing.assert_allclose(pred.keypoints, keypoints, atol=1e-3)
        np.testing.assert_array_equal(pred.keypoint_scores, scores)


def test_predict_without_decoder_says_so():
    head = build().eval()
    samples = get_packed_inputs(batch_size=2)['data_samples']
    with torch.no_grad(), pytest.raises(RuntimeError, match='decoder'):
        head.predict(features(), samples)
