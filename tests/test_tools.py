import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmpose.apis import init_model
from paths import COCO, LSPET, MPII, ROOT, SMALL

from lpn_mmpose.analysis.complexity import complexity, complexity_table
from lpn_mmpose.apis.mmpose_tools import mmpose_tool
from lpn_mmpose.apis.train import train_config
from lpn_mmpose.datasets.data_check import data_paths
from lpn_mmpose.errors import InputError
from lpn_mmpose.utils.checkpoint import check_checkpoint
from lpn_mmpose.zoo.model_index import find_model, metafiles
from lpn_mmpose.zoo.published import published_rows


@pytest.fixture(scope='module')
def checkpoint(data):
    """LPN-50 of COCO, as it is before training."""
    path = data / 'initial.pth'
    model = init_model(str(COCO), device='cpu')
    torch.save(dict(state_dict=model.state_dict(), meta={}), path)
    return path


@pytest.mark.parametrize(
    'config, metric',
    [(COCO, 'coco/AP'), (MPII, 'PCK'), (LSPET, 'torso/PCK@0.2')],
    ids=['coco', 'mpii', 'lspet'],
)
def test_train_resume_test(config, metric, run, data, tmp_path, capsys):
    options = ['--work-dir', tmp_path, '--cfg-options', *SMALL]
    run('train.py', config, *options, 'train_cfg.max_epochs=1')
    last_line = capsys.readouterr().out.splitlines()[-1]
    best = next(tmp_path.glob('best_*.pth'))
    assert last_line == f'best checkpoint: {best}'

    run('train.py', config, '--resume', *options, 'train_cfg.max_epochs=2')
    log = capsys.readouterr().out
    assert 'resumed epoch: 1' in log
    assert 'Epoch(train) [1]' not in log and 'Epoch(train) [2][2/2]' in log
    last = torch.load(tmp_path / 'epoch_2.pth', weights_only=True)
    assert last['meta']['epoch'] == 2

    run(
        'test.py',
        config,
        tmp_path / 'epoch_2.pth',
        '--out',
        tmp_path / 'metrics.json',
        '--dump',
        tmp_path / 'dump.pkl',
        '--show-dir',
        tmp_path / 'show',
        *options,
    )
    metrics = json.loads((tmp_path / 'metrics.json').read_text())
    printed = dict(
        line.rsplit(': ', 1) for line in capsys.readouterr().out.splitlines()[-len(metrics) :]
    )
    assert float(printed[metric]) == pytest.approx(metrics[metric], abs=1e-4)
    assert (tmp_path / 'dump.pkl').stat().st_size > 0
    assert list(tmp_path.rglob('show/*'))


def test_resume_before_the_first_checkpoint(data, tmp_path, monkeypatch):
    """A run that was killed in its first epoch begins again with the weights it began with."""
    _, weights = find_model('lpn50-lsp')
    config = tmp_path / 'config.py'
    config.write_text(f'_base_ = {str(LSPET)!r}\nload_from = {str(weights)!r}\n')
    tool = mmpose_tool('train')
    monkeypatch.chdir(data)
    command = ['train.py', str(config), '--resume', '--work-dir', str(tmp_path / 'run')]
    monkeypatch.setattr(sys, 'argv', command)
    cfg = train_config(tool.parse_args(), tool)
    assert cfg.load_from == str(weights) and not cfg.resume


def test_exported_model(run, fails, data, tmp_path, capsys):
    config, weights = find_model('lpn50-lsp')
    exported = tmp_path / 'lpn50.onnx'
    run(ROOT / 'tools/deployment/export.py', config, weights, '--flip', '-o', exported)
    capsys.readouterr()
    results = []
    for model in (weights, exported):
        out = tmp_path / 'metrics.json'
        run(
            'test.py',
            config,
            model,
            '--out',
            out,
            '--work-dir',
            tmp_path,
            '--show-dir',
            tmp_path / f'show-{Path(model).suffix[1:]}',
            '--cfg-options',
            *SMALL,
        )
        results.append(json.loads(out.read_text()))
    assert results[0]['torso/PCK@0.2'] > 0
    assert results[1] == pytest.approx(results[0], abs=1e-6)
    assert list(tmp_path.rglob('show-onnx/*'))
    capsys.readouterr()
    line = fails('test.py', COCO, exported)
    assert f'{exported} finds 14 keypoints' in line
    assert 'have 17 (nose, ...)' in line
    line = fails('test.py', config, exported, '--launcher', 'pytorch')
    assert 'without a launcher' in line
    assert 'broken.xml cannot be loaded' in fails('test.py', COCO, touched(tmp_path / 'broken.xml'))


def touched(path):
    path.write_text('<net')
    return path


def test_auto_scale_lr_no_validate(run, tmp_path):
    run(
        'train.py',
        COCO,
        '--work-dir',
        tmp_path,
        '--auto-scale-lr',
        '--no-validate',
        '--cfg-options',
        *[option for option in SMALL if not option.startswith('val_')],
        'train_cfg.max_epochs=1',
    )
    assert not list(tmp_path.glob('best_*.pth'))
    state = torch.load(tmp_path / 'epoch_1.pth', weights_only=True)
    (group,) = state['optimizer']['param_groups']
    assert group['initial_lr'] == pytest.approx(1e-3 * 2 / 256)


@pytest.mark.parametrize('tool', ['train.py', 'test.py'])
def test_bad_config(tool, fails, tmp_path):
    args = ['checkpoint.pth'] if tool == 'test.py' else []
    assert 'no/such.py does not exist' in fails(tool, 'no/such.py', *args)
    broken = tmp_path / 'broken.py'
    broken.write_text("_base_ = ['./no_such_base.py']\n")
    line = fails(tool, broken, *args)
    assert str(broken) in line and 'no_such_base.py' in line


@pytest.mark.parametrize(
    'key, value',
    [
        ('train_dataloader.dataset.ann_file', 'no.json'),
        ('train_dataloader.dataset.data_prefix.img', 'no/'),
        ('val_dataloader.dataset.data_root', 'no/'),
        ('val_evaluator.ann_file', 'no.json'),
    ],
)
def test_missing_training_data(key, value, fails):
    line = fails('train.py', COCO, '--cfg-options', f'{key}={value}')
    assert value in line and '--cfg-options' in line


def test_bad_options(fails, checkpoint):
    line = fails('train.py', COCO, '--cfg-options', 'codec.sigma.x=1')
    assert 'do not fit' in line and str(COCO) in line
    line = fails('test.py', COCO, checkpoint, '--dump', 'dump.txt')
    assert 'must be a pkl file' in line


def test_missing_test_data(fails, checkpoint):
    line = fails(
        'test.py', COCO, checkpoint, '--cfg-options', 'test_dataloader.dataset.bbox_file=no.json'
    )
    assert 'no.json' in line
    assert 'test_dataloader.dataset.bbox_file=None' in line
    line = fails(
        'test.py', MPII, checkpoint, '--cfg-options', 'test_dataloader.dataset.headbox_file=no.mat'
    )
    assert 'no.mat' in line


def test_ground_truth_boxes(run, checkpoint, tmp_path):
    run(
        'test.py',
        COCO,
        checkpoint,
        '--work-dir',
        tmp_path,
        '--cfg-options',
        *SMALL,
        'test_dataloader.dataset.bbox_file=None',
    )


def test_bad_checkpoint(fails, checkpoint, tmp_path):
    line = fails('test.py', COCO, 'no.pth')
    assert line == 'error: checkpoint no.pth does not exist'
    text = tmp_path / 'text.pth'
    text.write_text('not a checkpoint')
    line = fails('test.py', COCO, text)
    assert f'checkpoint {text} cannot be read' in line

    line = fails('test.py', COCO, checkpoint, '--cfg-options', 'model.backbone.depth=101')
    # 17 more blocks of 3 convs, 3 norm layers and a global-context block
    missing = 17 * (3 + 3 * 4 + 8)
    assert f'{missing} missing' in line and '0 unexpected' in line
    line = fails('test.py', MPII, checkpoint)
    assert '0 missing and 2 of another shape, 0 unexpected' in line


def test_bad_checkpoint_to_resume(fails, checkpoint, tmp_path):
    line = fails('train.py', MPII, '--resume', checkpoint)
    assert 'another model' in line
    (tmp_path / 'last_checkpoint').write_text(str(checkpoint))
    line = fails('train.py', MPII, '--resume', '--work-dir', tmp_path)
    assert 'another model' in line


def test_finetuning_takes_another_head(checkpoint):
    check_checkpoint(str(checkpoint), Config.fromfile(MPII), strict=False)
    mobilenet = Config(dict(model=dict(type='MobileNetV2'), default_scope='mmpose'))
    with pytest.raises(InputError, match='another model'):
        check_checkpoint(str(checkpoint), mobilenet, strict=False)


def test_data_paths_of_wrapped_datasets():
    inner = dict(data_root='root', ann_file='a.json', data_prefix=dict(img=''))
    paths = [('ann_file', 'root/a.json'), ('data_prefix.img', 'root/')]
    wrapped = dict(type='CombinedDataset', datasets=[inner, inner])
    assert list(data_paths(wrapped)) == 2 * paths
    wrapped = dict(type='RepeatDataset', dataset=inner)
    assert list(data_paths(wrapped)) == paths


@pytest.mark.skipif(torch.cuda.is_available(), reason='CUDA is there')
def test_without_cuda(fails):
    line = fails('train.py', COCO, '--launcher', 'slurm')
    assert '--launcher slurm needs CUDA' in line


def test_complexity_by_hand():
    """One conv 2x3x3x3 and one deconv 2x2x4x4 on pixels 6 wide and 8 high."""

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 2, 3, padding=1, bias=False)
            self.deconv = torch.nn.ConvTranspose2d(2, 2, 4, 2, 1)

        def forward(self, inputs, data_samples, mode):
            return self.deconv(self.conv(inputs))

    assert complexity(Model(), (6, 8)) == dict(
        input_shape=[1, 3, 8, 6],
        params=54 + 66,
        macs=(54 + 64) * 48,
        gflops_original=(54 * 48 + 64 * 4 * 48) / 1024**3,
    )


@pytest.mark.parametrize(
    'depth, gflops, params', [(50, 1.008, 2911153), (101, 1.414, 5353458), (152, 1.822, 7377459)]
)
def test_get_flops(depth, gflops, params, run, capsys):
    config = str(COCO).replace('lpn50', f'lpn{depth}')
    run('analysis/get_flops.py', config, '--json')
    result = json.loads(capsys.readouterr().out)
    assert result['input_shape'] == [1, 3, 256, 192]
    assert result['params'] == params
    assert result['gflops_original'] == pytest.approx(gflops, abs=5e-4)


def test_get_flops_table(run, fails, capsys):
    run('analysis/get_flops.py', MPII, '--shape', 128, 64)
    out = capsys.readouterr().out
    assert '1x3x128x64' in out and '2,910,896' in out
    assert 'does not exist' in fails('analysis/get_flops.py', 'no/such.py')


#: GFLOPs by the original's rule and how they give the published digit.
PUBLISHED_GFLOPS = {
    ('MPII', 'pose_resnet_50'): (11.99, 'rounded'),
    ('MPII', 'lpn_50'): (1.34, 'rounded'),
    ('COCO', 'pose_resnet_50'): (8.99, 'cut off'),
    ('COCO', 'pose_resnet_101'): (12.38, 'rounded'),
    ('COCO', 'pose_resnet_152'): (15.77, 'cut off'),
    ('COCO', 'pose_hrnet_w32'): (7.12, 'rounded'),
    ('COCO', 'pose_hrnet_w48'): (14.61, 'rounded'),
    ('COCO', 'lpn_50'): (1.008, 'rounded'),
    ('COCO', 'lpn_101'): (1.414, 'rounded'),
    ('COCO', 'lpn_152'): (1.822, 'rounded'),
}


def test_get_flops_of_the_published_tables(run, capsys):
    run('analysis/get_flops.py', '--table', '--json')
    results = json.loads(capsys.readouterr().out)
    found = {(r['dataset'], r['method']): r for r in results}
    assert found.keys() == PUBLISHED_GFLOPS.keys()
    metafile_params = {
        model['Config']: model['Metadata']['Parameters']
        for content in metafiles()
        for model in content['Models']
    }
    for key, (gflops, explanation) in PUBLISHED_GFLOPS.items():
        result = found[key]
        digits = 3 if gflops < 2 and key[0] == 'COCO' else 2
        assert result['gflops_original'] == pytest.approx(gflops, abs=0.6 * 10**-digits), key
        assert result['gflops_explanation'] == explanation, key
        assert result['params_explanation'] == ('cut off' if key[1] == 'lpn_101' else 'rounded'), (
            key
        )
        assert result['params'] == metafile_params[result['config']], key
    printed = complexity_table(results, markdown=True).splitlines()
    assert len(printed) == 12 and 'DIFFERS' not in ''.join(printed)


def test_get_flops_names_a_row_that_differs(run, capsys, monkeypatch):
    (row,) = [row for row in published_rows() if (row.dataset, row.method) == ('COCO', 'lpn_50')]
    monkeypatch.setattr(
        'lpn_mmpose.zoo.published.published_rows', lambda: [replace(row, params='2.8M')]
    )
    with pytest.raises(SystemExit) as end:
        run('analysis/get_flops.py', '--table')
    assert end.value.code == 1
    printed = capsys.readouterr()
    assert '+0.111M DIFFERS' in printed.out
    assert 'COCO lpn_50' in printed.err.splitlines()[-1]


def test_mmposes_own_tool_trains_our_config(data, tmp_path):
    """As ``mim train mmpose CONFIG`` does, without importing us first."""
    tool = mmpose_tool('train').__file__
    config = tmp_path / 'mine.py'
    # as docs/install.md says
    scope = f'lpn_mmpose::{COCO.relative_to(ROOT / "configs")}'
    config.write_text(f"_base_ = __import__('lpn_mmpose') and '{scope}'\n")
    args = [config, '--work-dir', tmp_path, '--cfg-options', *SMALL]
    subprocess.run(
        [sys.executable, tool, *args, 'train_cfg.max_epochs=1'],
        cwd=data,
        env=dict(os.environ, PYTHONPATH=str(ROOT)),
        check=True,
    )
    assert next(tmp_path.glob('best_coco_AP_epoch_1.pth'))


@pytest.mark.skipif(torch.cuda.is_available(), reason='would take the GPUs')
@pytest.mark.parametrize('script', ['dist_train.sh', 'dist_test.sh'])
def test_dist_scripts_on_cpus(script, data, checkpoint, tmp_path):
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    # the scripts call "python"
    path = f'{Path(sys.executable).parent}:{os.environ["PATH"]}'
    args = [COCO, 2] if script == 'dist_train.sh' else [COCO, checkpoint, 2]
    result = subprocess.run(
        [
            'bash',
            ROOT / 'tools' / script,
            *map(str, args),
            '--work-dir',
            tmp_path,
            '--cfg-options',
            *SMALL,
            'train_cfg.max_epochs=1',
        ],
        cwd=data,
        env=dict(os.environ, PATH=path, PORT=str(port)),
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert 'Distributed training: True' in result.stdout + result.stderr
    # two of the four images go to each process
    if script == 'dist_train.sh':
        assert next(tmp_path.glob('epoch_1.pth'))
        assert result.stdout.count('best checkpoint: ') == 1
    else:
        assert result.stdout.count('\ncoco/AP: ') == 1


@pytest.mark.parametrize(
    'script, arguments, tool',
    [
        ('slurm_train.sh', ['part', 'job', 'config.py', 'work'], 'train'),
        ('slurm_test.sh', ['part', 'job', 'config.py', 'a.pth'], 'test'),
    ],
)
def test_slurm_scripts(script, arguments, tool, tmp_path, monkeypatch):
    """What a stand-in for srun gets is what MMPose's tool understands."""
    srun = tmp_path / 'srun'
    srun.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    srun.chmod(0o755)
    result = subprocess.run(
        ['bash', ROOT / 'tools' / script, *arguments, '--cfg-options', 'a=1'],
        env=dict(os.environ, PATH=f'{tmp_path}:{os.environ["PATH"]}', GPUS='16'),
        capture_output=True,
        text=True,
        check=True,
    )
    words = result.stdout.splitlines()
    split = words.index('python')
    assert {
        '-p',
        'part',
        '--job-name=job',
        '--ntasks=16',
        '--ntasks-per-node=8',
        '--gres=gpu:8',
    } <= set(words[:split])
    assert words[split + 1] == '-u'
    assert Path(words[split + 2]).samefile(ROOT / f'tools/{tool}.py')
    monkeypatch.setattr(sys, 'argv', words[split + 2 :])
    args = mmpose_tool(tool).parse_args()
    assert args.launcher == 'slurm' and args.config == 'config.py'
    assert args.cfg_options == dict(a=1)
    assert (args.work_dir if tool == 'train' else args.checkpoint) == arguments[-1]
