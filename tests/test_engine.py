import json
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import mmengine
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.fileio import get_file_backend
from mmengine.optim import build_optim_wrapper
from mmengine.runner import Runner
from synthetic import make_all, make_lspet
from torch import nn

from lpn_mmpose.apis.train import check_compiler, use_bfloat16
from lpn_mmpose.engine import AutocastOptimWrapper
from lpn_mmpose.errors import InputError
from lpn_mmpose.models.heads.lpn_head import DECONV_PADDING, GroupedDeconv

ROOT = Path(__file__).parents[1]
LSPET = ROOT / 'configs/body_2d_keypoint/lpn/lspet/td-hm_lpn50_1xb32-60e_lspet-128x128.py'


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return make_all(tmp_path_factory.mktemp('engine'))


def test_atomic_backend(tmp_path, monkeypatch):
    path = tmp_path / 'new' / 'epoch_1.pth'
    backend = get_file_backend(str(path), backend_args=dict(backend='atomic'))
    backend.put(b'first', str(path))
    assert path.read_bytes() == b'first'

    def killed(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, 'fsync', killed)
    with pytest.raises(KeyboardInterrupt):
        backend.put(b'second', str(path))
    assert path.read_bytes() == b'first'
    assert [p.name for p in path.parent.iterdir()] == ['epoch_1.pth']


@pytest.mark.parametrize('bias', [False, True])
@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize('in_channels, out_channels, groups', [(12, 4, 4), (6, 6, 6), (8, 4, 2)])
@pytest.mark.parametrize('kernel_size', [4, 3, 2])
def test_grouped_deconv(in_channels, out_channels, groups, kernel_size, layout, bias):
    """Values and gradients are those of PyTorch's own layer."""
    args = in_channels, out_channels, kernel_size, 2, *DECONV_PADDING[kernel_size]
    layer = GroupedDeconv(*args, groups=groups, bias=bias).double()
    reference = nn.ConvTranspose2d(*args, groups=groups, bias=bias).double()
    reference.load_state_dict(layer.state_dict())
    x = torch.rand(2, in_channels, 5, 4, dtype=torch.double)
    inputs = [x.to(memory_format=layout).requires_grad_() for _ in range(2)]
    outs = [layer(inputs[0]), reference(inputs[1])]
    torch.testing.assert_close(*outs)
    assert outs[0].is_contiguous(memory_format=layout)
    with torch.no_grad():
        torch.testing.assert_close(layer(x), outs[1])
    for out in outs:
        out.square().sum().backward()
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad)
    for ours, theirs in zip(layer.parameters(), reference.parameters()):
        torch.testing.assert_close(ours.grad, theirs.grad)


@pytest.mark.parametrize(
    'settings',
    [
        dict(kernel_size=4, stride=1, padding=1),
        dict(kernel_size=4, stride=2, padding=0),
        dict(kernel_size=(4, 3), stride=2, padding=1),
        dict(kernel_size=3, stride=2, padding=1),
        dict(kernel_size=4, stride=2, padding=1, dilation=2),
        dict(kernel_size=5, stride=2, padding=2, output_padding=1),
    ],
)
def test_grouped_deconv_of_other_sizes(settings):
    layer = GroupedDeconv(6, 3, groups=3, **settings)
    reference = nn.ConvTranspose2d(6, 3, groups=3, **settings)
    reference.load_state_dict(layer.state_dict())
    x = torch.rand(2, 6, 5, 4)
    torch.testing.assert_close(layer(x), reference(x))


def test_grouped_deconv_exports_as_one_layer():
    layer = GroupedDeconv(8, 4, 4, 2, 1, groups=4)
    traced = torch.jit.trace(layer, torch.rand(1, 8, 3, 3))
    assert str(traced.graph).count('_convolution') == 1


def test_autocast():
    model = nn.Linear(4, 4)
    wrapper = build_optim_wrapper(
        model,
        dict(type='AutocastOptimWrapper', dtype='bfloat16', optimizer=dict(type='SGD', lr=0.1)),
    )
    with wrapper.optim_context(model):
        out = model(torch.rand(2, 4))
    assert out.dtype is torch.bfloat16
    wrapper.update_params(out.float().sum())
    assert model.weight.dtype is torch.float32 and model.weight.grad is None
    with pytest.raises(ValueError, match='float16 use AmpOptimWrapper'):
        AutocastOptimWrapper(dtype='float16', optimizer=torch.optim.SGD(model.parameters()))


@pytest.mark.parametrize('fast', [False, True])
def test_autocast_by_the_machine(fast, monkeypatch):
    monkeypatch.setattr('lpn_mmpose.engine.autocast_optim_wrapper.bfloat16_is_fast', lambda: fast)
    model = nn.Linear(4, 4)
    wrapper = AutocastOptimWrapper(optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
    with wrapper.optim_context(model):
        dtype = model(torch.rand(2, 4)).dtype
    assert dtype is (torch.bfloat16 if fast else torch.float32)


#: Without what differs between two runs of the same training.
PLAIN_PIPELINE = [
    dict(type='LoadImage'),
    dict(type='GetBBoxCenterScale'),
    dict(type='TopdownAffine', input_size=(64, 64)),
    dict(
        type='GenerateTarget',
        encoder=dict(
            type='BetaSoftArgmaxHeatmap', input_size=(64, 64), heatmap_size=(16, 16), sigma=1.5
        ),
    ),
    dict(type='PackPoseInputs'),
]


def small_config(batch_size, ema=None, **settings):
    """LSP's config on tiny images, deterministic, everything in process."""
    cfg = Config.fromfile(LSPET)
    decoder = PLAIN_PIPELINE[3]['encoder']
    cfg.model.head.decoder = decoder
    # batch statistics would differ with the batch of a process
    cfg.model.backbone.norm_eval = True
    cfg.custom_hooks = [] if ema is None else [ema]
    cfg.train_dataloader.dataset.pipeline = PLAIN_PIPELINE
    cfg.val_dataloader.dataset.pipeline = [*PLAIN_PIPELINE[:3], PLAIN_PIPELINE[4]]
    cfg.test_dataloader.dataset = cfg.val_dataloader.dataset
    for split in ('train', 'val', 'test'):
        loader = cfg[f'{split}_dataloader']
        loader.update(batch_size=batch_size, num_workers=0, persistent_workers=False)
    cfg.train_cfg.update(max_epochs=1, val_interval=1)
    cfg.default_hooks.logger.interval = 1
    cfg.merge_from_dict(settings)
    return cfg


def write(cfg, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(cfg.pretty_text)
    return path


@pytest.fixture
def train(data, monkeypatch, plain_config_text):
    """Train a config in this process and return the runner."""

    def train(cfg, work_dir, folder=data):
        monkeypatch.chdir(folder)
        cfg.work_dir = str(work_dir)
        cfg.experiment_name = work_dir.name
        runner = Runner.from_cfg(cfg)
        runner.train()
        return runner

    return train


def test_channels_last_and_resume(train, tmp_path):
    """The same training in both layouts, and across a resume."""
    # AdamW would make rounding errors of tiny gradients as large as a step
    plain = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=1e-3, momentum=0.9))
    runs = {}
    for name, enable in (('nchw', False), ('nhwc', True)):
        cfg = small_config(2, **{'default_hooks.channels_last.enable': enable})
        cfg.optim_wrapper = plain
        runs[name] = train(cfg, tmp_path / name)
    weight = runs['nhwc'].model.backbone.layer1[0].conv1.conv.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    state = runs['nchw'].model.state_dict()
    for key, value in runs['nhwc'].model.state_dict().items():
        torch.testing.assert_close(value, state[key], rtol=1e-3, atol=1e-5)

    cfg = small_config(2, resume=True)
    cfg.optim_wrapper = plain
    cfg.train_cfg.max_epochs = 2
    runner = train(cfg, tmp_path / 'nhwc')
    assert runner.epoch == 2
    weight = runner.model.backbone.layer1[0].conv1.conv.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)


def test_bfloat16_trains_and_resumes(train, tmp_path):
    for epochs in (1, 2):
        # together with the averaged weights of our configs
        ema = Config.fromfile(LSPET).custom_hooks[-1]
        cfg = small_config(2, ema, resume=epochs == 2)
        cfg.optim_wrapper.dtype = 'bfloat16'
        cfg.train_cfg.max_epochs = epochs
        runner = train(cfg, tmp_path / 'bf16')
    assert runner.epoch == 2
    assert all(p.dtype is torch.float32 for p in runner.model.parameters())
    saved = torch.load(tmp_path / 'bf16/epoch_2.pth', weights_only=True)
    assert saved['ema_state_dict']['steps'] == 2 * len(runner.train_dataloader)
    losses = runner.message_hub.get_scalar('train/loss').data[0]
    assert np.isfinite(losses).all()


def test_compile_trains(train, tmp_path):
    cfg = small_config(2, compile=dict(backend='eager'))
    runner = train(cfg, tmp_path / 'compiled')
    saved = torch.load(tmp_path / 'compiled/epoch_1.pth', weights_only=True)
    assert saved['state_dict'].keys() == runner.model.state_dict().keys()
    assert not any('_orig_mod' in key for key in saved['state_dict'])


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='no glibc')
def test_reuse_memory(data, tmp_path):
    """A training step's tensors come back to the pages they had."""
    code = """
import resource, torch
import lpn_mmpose.engine as engine

layers = torch.nn.Sequential(
    *[torch.nn.Conv2d(8, 8, 3, padding=1) for _ in range(4)])

def median_faults():
    faults = []
    for repeat in range(9):
        start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        layers(torch.ones(8, 8, 128, 128)).sum().backward()
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - start)
    return sorted(faults)[4]  # a single step may still need a tensor more

before = median_faults()
engine.ReuseMemoryHook().before_run(None)
print(before, median_faults())
"""
    output = subprocess.run(
        [sys.executable, '-c', code],
        env=dict(os.environ, PYTHONPATH=str(ROOT)),
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    faults = dict(zip(('release', 'reuse'), map(int, output.split())))
    assert 10 * faults['reuse'] < faults['release'], faults


def distributed(config, work_dir, data, tool, *args):
    """Run a dist script with two processes on the CPU."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    path = f'{Path(sys.executable).parent}:{os.environ["PATH"]}'
    result = subprocess.run(
        ['bash', str(ROOT / 'tools' / tool), str(config), *args, '--work-dir', str(work_dir)],
        cwd=data,
        env=dict(
            os.environ, PATH=path, PORT=str(port), PYTHONPATH=str(ROOT), CUDA_VISIBLE_DEVICES=''
        ),
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout


@pytest.mark.skipif(torch.cuda.is_available(), reason='would take the GPUs')
def test_two_processes_train_and_evaluate_as_one(train, tmp_path, capfd):
    """The same weights from the same global batch, the same evaluated set.

    Of the five images of each epoch one process gets three. Group norm and
    plain SGD, because batch statistics are those of a process.
    """
    make_lspet(tmp_path / 'data/lspet', count=5)
    norm = dict(type='GN', num_groups=8)
    settings = {
        'model.backbone.norm_cfg': norm,
        'model.backbone.norm_eval': False,
        'model.head.norm_cfg': norm,
        'optim_wrapper.optimizer': dict(type='SGD', lr=1e-5),
        'train_dataloader.sampler.round_up': False,
        'train_dataloader.drop_last': True,
        'param_scheduler': None,
        'train_cfg.max_epochs': 2,
    }
    metric = dict(type='TorsoPCKAccuracy', thr=(0.2, 1.0))
    settings.update(val_evaluator=metric, test_evaluator=metric)
    one = train(small_config(4, **settings), tmp_path / 'one', tmp_path)
    config = write(small_config(2, **settings), tmp_path / 'config.py')
    distributed(config, tmp_path / 'two', tmp_path, 'dist_train.sh', '2')

    states = [
        torch.load(tmp_path / name / 'epoch_2.pth', weights_only=True) for name in ('one', 'two')
    ]
    initial = Runner.from_cfg(
        small_config(4, **settings, work_dir=str(tmp_path / 'initial'), experiment_name='initial')
    )
    initial = initial.model.state_dict()
    for key, value in states[0]['state_dict'].items():
        torch.testing.assert_close(states[1]['state_dict'][key], value, rtol=1e-3, atol=5e-6)
    assert one.iter == states[1]['meta']['iter'] == 2
    moved = max(
        (initial[key] - value).abs().max() for key, value in states[0]['state_dict'].items()
    )
    assert moved > 1e-4

    metrics = {}
    checkpoint = tmp_path / 'one/epoch_2.pth'
    for name, arguments in (('one', ['dist_test.sh', '1']), ('two', ['dist_test.sh', '2'])):
        script, processes = arguments
        out = tmp_path / f'{name}.json'
        distributed(
            config,
            tmp_path / name,
            tmp_path,
            script,
            str(checkpoint),
            processes,
            '--out',
            str(out),
            '--dump',
            str(tmp_path / f'{name}.pkl'),
        )
        metrics[name] = json.loads(out.read_text())
    assert metrics['one'] == metrics['two']
    assert 0 < metrics['one']['torso/PCK@1.0'] < 1
    ids = [
        [sample['id'] for sample in mmengine.load(tmp_path / f'{name}.pkl')]
        for name in ('one', 'two')
    ]
    assert sorted(ids[0]) == sorted(ids[1]) == [1, 2, 3, 4, 5]


def test_auto_scale_lr_of_every_config():
    """The base batch is the one in the config's name."""
    for path in (ROOT / 'configs/body_2d_keypoint/lpn').rglob('td-hm_*.py'):
        cfg = Config.fromfile(path)
        gpus, batch = re.search(r'_(\d+)xb(\d+)-', path.name).groups()
        assert cfg.train_dataloader.batch_size == int(batch), path
        assert cfg.auto_scale_lr.base_batch_size == int(gpus) * int(batch)


def test_compile_needs_a_compiler(monkeypatch):
    monkeypatch.setattr(shutil, 'which', lambda name: None)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    check_compiler(Config(dict(compile=dict(backend='eager'))))
    check_compiler(Config(dict(compile=False)))
    with pytest.raises(InputError, match='needs a C.. compiler'):
        check_compiler(Config(dict(compile=True)))


def test_amp_option():
    cfg = Config.fromfile(LSPET)
    use_bfloat16(cfg)
    assert cfg.optim_wrapper.dtype == 'bfloat16'
    cfg.optim_wrapper.type = 'AmpOptimWrapper'
    with pytest.raises(InputError, match='optim_wrapper.type'):
        use_bfloat16(cfg)
