import pytest
import torch
from mmcv.cnn.bricks import ContextBlock
from mmengine.runner import save_checkpoint
from mmpose.registry import MODELS
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

import lpn_mmpose.models  # noqa: F401
from lpn_mmpose.models.backbones.lpn import LightweightBottleneck

DEPTHS = (50, 101, 152)
#: Published parameters with GC and the head for 17 keypoints, and the head's.
MODEL_PARAMS = {50: 2911153, 101: 5353458, 152: 7377459}
HEAD_PARAMS = 149777


def build(depth=50, **kwargs):
    return MODELS.build(dict(type='LPN', depth=depth, **kwargs))


def norms(module):
    return [m for m in module.modules() if isinstance(m, _BatchNorm)]


@pytest.mark.parametrize('depth', DEPTHS)
def test_shapes_and_parameters(depth):
    model = build(depth).eval()
    with torch.no_grad():
        outs = model(torch.rand(1, 3, 256, 192))
    assert isinstance(outs, tuple) and len(outs) == 1
    assert outs[0].shape == (1, 512, 16, 12)
    params = sum(p.numel() for p in model.parameters())
    assert params == MODEL_PARAMS[depth] - HEAD_PARAMS


@pytest.mark.parametrize('attention', ['GC', 'SE', None])
@pytest.mark.parametrize('depth', DEPTHS)
def test_attention_sits_in_every_bottleneck(depth, attention):
    model = build(depth, attention=attention).eval()
    blocks = [block for name in model.layers for block in getattr(model, name)]
    assert len(blocks) == sum(model.stage_blocks[depth])
    assert {type(b.attention).__name__ for b in blocks} == {
        {'GC': 'ContextBlock', 'SE': 'BiasFreeSELayer'}.get(attention, 'Identity')
    }
    with torch.no_grad():
        (out,) = model(torch.rand(2, 3, 64, 48))
    assert out.shape == (2, 512, 4, 3)


def test_se_has_no_biases_and_at_least_16_channels():
    model = build(attention='SE')
    for stage, hidden in ((1, 16), (2, 16), (3, 16), (4, 32)):
        se = getattr(model, f'layer{stage}')[0].attention
        assert se.fc[0].out_features == se.fc[2].in_features == hidden
        assert se.fc[0].bias is None and se.fc[2].bias is None


def test_se_scales_channels():
    se = build(attention='SE').layer1[0].attention
    x = torch.rand(2, 64, 5, 4)
    mean = x.mean((2, 3))
    scale = torch.sigmoid((mean @ se.fc[0].weight.T).relu() @ se.fc[2].weight.T)
    torch.testing.assert_close(se(x), x * scale[:, :, None, None])


def test_out_indices():
    model = build(out_indices=(0, 1, 2, 3)).eval()
    with torch.no_grad():
        outs = model(torch.rand(1, 3, 64, 64))
        inner = build(out_indices=(1, 3)).eval()
        inner.load_state_dict(model.state_dict())
        some = inner(torch.zeros(1, 3, 64, 64))
    assert [tuple(o.shape) for o in outs] == [
        (1, 64, 16, 16),
        (1, 128, 8, 8),
        (1, 256, 4, 4),
        (1, 512, 4, 4),
    ]
    assert [o.shape[1] for o in some] == [128, 512]


@pytest.mark.parametrize('stages', [-1, 0, 1, 4])
def test_frozen_stages(stages):
    model = build(frozen_stages=stages)
    model.init_weights()
    model.train()
    frozen = [] if stages < 0 else ['stem'] + model.layers[:stages]
    before = {k: v.clone() for k, v in model.state_dict().items()}
    if stages < 4:
        # unequal outputs, as the sum of batch-normed maps has no gradient
        (model(torch.rand(2, 3, 64, 64))[0] ** 2).sum().backward()
    else:
        model(torch.rand(2, 3, 64, 64))
    for name in ['stem'] + model.layers:
        module = getattr(model, name)
        is_frozen = name in frozen
        for param in module.parameters():
            assert param.requires_grad != is_frozen
            assert (param.grad is None) == is_frozen
        for norm in norms(module):
            assert norm.training != is_frozen
        for key, value in module.state_dict().items():
            if key.endswith('running_var'):
                unchanged = torch.equal(value, before[f'{name}.{key}'])
                assert unchanged == is_frozen


def test_norm_eval():
    model = build(norm_eval=True)
    model.train()
    assert norms(model) and not any(n.training for n in norms(model))
    assert model.layer1[0].training
    model = build(norm_eval=False)
    model.train()
    assert all(n.training for n in norms(model))
    model.eval()
    assert not any(n.training for n in norms(model))


def test_with_cp_gives_the_same_outputs_and_gradients():
    torch.manual_seed(0)
    plain = build(init_cfg=None, out_indices=(0, 3))
    checkpointed = build(init_cfg=None, out_indices=(0, 3), with_cp=True)
    checkpointed.load_state_dict(plain.state_dict())
    assert checkpointed.layer1[0].with_cp
    x = torch.rand(2, 3, 64, 64)
    results = []
    for model in (plain, checkpointed):
        model.train()
        outs = model(x)
        sum((out**2).mean() for out in outs).backward()
        results.append((outs, [p.grad for p in model.parameters()]))
    torch.testing.assert_close(results[0], results[1])


def test_default_init():
    model = build()
    model.init_weights()
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm):
            assert (module.weight == 1).all() and (module.bias == 0).all()
        elif isinstance(module, ContextBlock):
            last = module.channel_add_conv[-1]
            assert (last.weight == 0).all() and (last.bias == 0).all()
        elif isinstance(module, nn.Conv2d) and 'attention' not in name:
            # the smallest convolution has 576 weights
            assert 0.0008 < module.weight.std() < 0.0012, name


def test_global_context_is_an_identity_at_first():
    model = build(init_cfg=None)
    model.init_weights()
    without = build(attention=None)
    missing, unexpected = without.load_state_dict(model.state_dict(), strict=False)
    assert not missing
    assert unexpected and all('.attention.' in key for key in unexpected)
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(x), without.eval()(x))
        nn.init.ones_(model.layer1[0].attention.channel_add_conv[-1].weight)
        assert not torch.equal(model(x)[0], without(x)[0])


@pytest.mark.parametrize('as_list', [False, True])
def test_pretrained_init(tmp_path, as_list):
    source = build()
    for param in source.parameters():
        nn.init.normal_(param)
    path = str(tmp_path / 'lpn.pth')
    save_checkpoint(dict(state_dict=source.state_dict()), path)
    pretrained = dict(type='Pretrained', checkpoint=path)
    model = build(init_cfg=[pretrained] if as_list else pretrained)
    model.init_weights()
    assert model.state_dict().keys() == source.state_dict().keys()
    for key, value in model.state_dict().items():
        torch.testing.assert_close(value, source.state_dict()[key], msg=key)


@pytest.mark.parametrize(
    'kwargs, name',
    [
        (dict(depth=34), 'depth'),
        (dict(depth='50'), 'depth'),
        (dict(attention='CBAM'), 'attention'),
        (dict(attention='gc'), 'attention'),
        (dict(out_indices=(4,)), 'out_indices'),
        (dict(out_indices=()), 'out_indices'),
        (dict(frozen_stages=5), 'frozen_stages'),
        (dict(frozen_stages=-2), 'frozen_stages'),
    ],
)
def test_bad_arguments_raise(kwargs, name):
    with pytest.raises(ValueError, match=f'{name} must be'):
        build(**kwargs)


def test_group_norm():
    model = build(norm_cfg=dict(type='GN', num_groups=16))
    model.init_weights()
    model.train()
    assert not norms(model)
    assert any(isinstance(m, nn.GroupNorm) for m in model.modules())
    (model(torch.rand(1, 3, 64, 64))[0] ** 2).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_sync_bn_builds_with_the_same_keys():
    model = build(norm_cfg=dict(type='SyncBN'))
    assert all(isinstance(n, nn.SyncBatchNorm) for n in norms(model))
    assert model.state_dict().keys() == build().state_dict().keys()


def test_in_channels():
    model = build(in_channels=1).eval()
    with torch.no_grad():
        assert model(torch.rand(1, 1, 64, 64))[0].shape == (1, 512, 4, 4)


def test_bfloat16_training_is_close_to_float32():
    torch.manual_seed(0)
    block = LightweightBottleneck(8, 16, stride=2).train()
    x, direction = torch.rand(4, 8, 16, 16), torch.randn(4, 16, 8, 8)
    results = []
    for enabled in (False, True):
        block.zero_grad()
        with torch.autocast('cpu', torch.bfloat16, enabled=enabled):
            out = block(x)
        (out * direction).sum().backward()
        results.append((out, block.conv2.conv.weight.grad))
    for plain, mixed in zip(*results):
        assert torch.cosine_similarity(plain.flatten(), mixed.flatten().float(), dim=0) > 0.99
    # all of bfloat16 itself, weights too
    assert block.bfloat16()(x.bfloat16()).dtype == torch.bfloat16
