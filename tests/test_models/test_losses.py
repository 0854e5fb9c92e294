import pytest
import torch
from mmpose.models.losses import KeypointMSELoss
from mmpose.registry import MODELS

import lpn_mmpose.models  # noqa: F401


def gaussian(x, y, size=16, sigma=1.5):
    grid = torch.arange(size).float()
    return torch.exp(-((grid[None] - x) ** 2 + (grid[:, None] - y) ** 2) / (2 * sigma**2))


@pytest.fixture
def target():
    return torch.stack([gaussian(4, 5), gaussian(10, 3)])[None]


def test_zero_at_the_target_and_larger_elsewhere(target):
    loss = MODELS.build(dict(type='KeypointMSESoftmaxLoss'))
    weights = torch.ones(1, 2)
    assert loss(target, target, weights).item() == pytest.approx(0, abs=1e-5)
    assert loss(target.flip(-1), target, weights) > 1


def test_is_mse_plus_kl_of_the_softmax(target):
    loss = MODELS.build(dict(type='KeypointMSESoftmaxLoss', beta=3.0, mse_weight=7.0))
    output = torch.linspace(0, 1, target.numel()).view_as(target)
    p, q = (torch.softmax(3 * h.flatten(2), -1) for h in (output, target))
    kl = (q * (q / p).log()).sum(-1).mean()
    weights = torch.ones(1, 2)
    mse = KeypointMSELoss(use_target_weight=True)(output, target, weights)
    torch.testing.assert_close(loss(output, target, weights), 7 * mse + kl, rtol=1e-4, atol=1e-5)


def test_unlabelled_keypoints_have_no_gradient(target):
    loss = MODELS.build(dict(type='KeypointMSESoftmaxLoss'))
    output = torch.zeros_like(target, requires_grad=True)
    loss(output, target, torch.tensor([[1.0, 0.0]])).backward()
    assert output.grad[0, 0].abs().sum() > 0
    assert output.grad[0, 1].abs().sum() == 0
