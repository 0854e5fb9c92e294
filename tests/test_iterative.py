import json
import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from synthetic import make_all

from lpn_mmpose.analysis.logs import read_scalars
from lpn_mmpose.apis import iterative_training as iterative
from lpn_mmpose.errors import InputError
from lpn_mmpose.utils.checkpoint import find_resumable

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / 'configs/body_2d_keypoint/lpn/lspet/td-hm_lpn50_1xb32-60e_lspet-128x128.py'
METRIC = 'torso/PCK@0.2'

#: Two iterations an epoch, everything in this process, small images.
OPTIONS = [
    'train_dataloader.batch_size=2',
    'val_dataloader.batch_size=4',
    'train_cfg.val_interval=1',
    'train_cfg.max_epochs=2',
    'default_hooks.logger.interval=1',
] + [
    f'{split}_dataloader.{option}'
    for split in ('train', 'val')
    for option in ('num_workers=0', 'persistent_workers=False')
]


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return make_all(tmp_path_factory.mktemp('iterative'))


def arguments(work_dir, stages, *options, patience=9):
    return [
        str(value)
        for value in (
            CONFIG,
            '--stages',
            stages,
            '--patience',
            patience,
            '--work-dir',
            work_dir,
            '--cfg-options',
            *OPTIONS,
            *options,
        )
    ]


@pytest.fixture
def run(data, monkeypatch, capsys, plain_config_text):
    """Run the tool in this process and return what it printed."""

    def run(*args, **kwargs):
        monkeypatch.chdir(data)
        monkeypatch.setattr(sys, 'argv', ['iterative_train.py', *arguments(*args, **kwargs)])
        runpy.run_path(str(ROOT / 'tools/iterative_train.py'), run_name='__main__')
        return capsys.readouterr()

    return run


def stages_of(work_dir):
    return json.loads((work_dir / 'stages.json').read_text())['stages']


def test_stages(run, tmp_path):
    printed = run(tmp_path, 2).out
    first, second = stages = stages_of(tmp_path)
    assert [s['stage'] for s in stages] == [0, 1]
    assert [s['epochs'] for s in stages] == [2, 2]
    assert {s['metric'] for s in stages} == {METRIC}
    for stage in stages:
        training, validation = read_scalars(str(tmp_path / f'stage_{stage["stage"]}'))
        values = [row[METRIC] for row in validation]
        assert stage['best'] == pytest.approx(max(values)) and len(values) == 2
        # the whole schedule from its beginning
        assert training[0]['lr'] == 2e-5

    # stage 1 starts from the best weights of stage 0, with nothing else
    log = next(tmp_path.glob('stage_1/*/*.log')).read_text()
    assert f'Load checkpoint from {tmp_path / first["checkpoint"]}' in log
    state = torch.load(tmp_path / 'stage_1/epoch_1.pth', weights_only=True)
    steps = {float(s['step']) for s in state['optimizer']['state'].values()}
    assert steps == {2}

    *_, record, plot, best = printed.splitlines()
    winner = max(stages, key=lambda s: s['best'])
    assert best == f'best checkpoint: {tmp_path / winner["checkpoint"]}'
    assert record == f'record: {tmp_path / "stages.json"}'
    assert plot == f'plot: {tmp_path / "stages.png"}'
    assert (tmp_path / 'stages.png').read_bytes().startswith(b'\x89PNG')

    # the same command again trains nothing, one stage more trains that one
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob('*.pth')}
    assert run(tmp_path, 2).out == '\n'.join(printed.splitlines()[-6:]) + '\n'
    run(tmp_path, 3)
    assert len(stages_of(tmp_path)) == 3
    after = {p: p.stat().st_mtime_ns for p in before}
    assert after == before


def test_early_stop(tmp_path, monkeypatch):
    """The third of five stages is worse than the second."""
    values = iter([0.1, 0.3, 0.2])
    starts = []

    def run_stage(cfg, index, metric):
        starts.append(cfg.get('load_from'))
        checkpoint = tmp_path / f'stage_{index}/best.pth'
        checkpoint.parent.mkdir()
        checkpoint.touch()
        return dict(
            stage=index,
            epochs=2,
            metric=metric,
            best=next(values),
            checkpoint=f'stage_{index}/best.pth',
            minutes=0.0,
        )

    monkeypatch.setattr(iterative, 'run_stage', run_stage)
    cfg = Config.fromfile(CONFIG)
    cfg.work_dir = str(tmp_path)
    stages = iterative.train_stages(cfg, stages=5, patience=1)
    assert [s['best'] for s in stages] == [0.1, 0.3, 0.2]
    assert stages == stages_of(tmp_path)
    assert starts == [None, str(tmp_path / 'stage_0/best.pth'), str(tmp_path / 'stage_1/best.pth')]


def test_killed_and_started_again(data, tmp_path):
    """SIGKILL in the middle of stage 1, then the same command again."""
    command = [
        sys.executable,
        str(ROOT / 'tools/iterative_train.py'),
        *arguments(tmp_path, 2, 'train_cfg.max_epochs=3'),
    ]
    env = dict(os.environ, PYTHONPATH=str(ROOT))
    log = (tmp_path / 'log').open('w')
    process = subprocess.Popen(command, cwd=data, env=env, stdout=log, stderr=log)
    deadline = time.monotonic() + 240
    while not (tmp_path / 'stage_1/epoch_1.pth').exists():
        assert process.poll() is None and time.monotonic() < deadline, (
            tmp_path / 'log'
        ).read_text()[-2000:]
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(stages_of(tmp_path)) == 1
    finished = (tmp_path / 'stage_0/epoch_3.pth').stat().st_mtime_ns

    again = subprocess.run(command, cwd=data, env=env, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr[-2000:]
    assert 'resumed epoch: ' in again.stdout
    assert 'best checkpoint: ' in again.stdout.splitlines()[-1]
    assert [s['epochs'] for s in stages_of(tmp_path)] == [3, 3]
    assert (tmp_path / 'stage_0/epoch_3.pth').stat().st_mtime_ns == finished
    assert not list(tmp_path.rglob('*.partial'))
    # stage 1's first epoch was not repeated
    training, _ = read_scalars(str(tmp_path / 'stage_1'))
    assert training[-1]['step'] == 6


def test_best_weights_lost(run, tmp_path):
    """Killed after the last epoch, before its evaluation was saved."""
    run(tmp_path, 1)
    (best,) = tmp_path.glob('stage_0/best_*.pth')
    best.unlink()
    (tmp_path / 'stages.json').unlink()
    printed = run(tmp_path, 1)
    assert 'the best weights are missing' in printed.out
    (stage,) = stages_of(tmp_path)
    assert (tmp_path / stage['checkpoint']).exists()


def test_errors(run, tmp_path, capsys):

    def fails(*args, **kwargs):
        with pytest.raises(SystemExit) as end:
            run(*args, **kwargs)
        assert end.value.code == 2
        return capsys.readouterr().err

    record = tmp_path / 'stages.json'
    record.write_text('{')
    assert f'{record} cannot be read' in fails(tmp_path, 1)
    record.write_text('{"config": "", "stages": []}')
    assert 'another config' in fails(tmp_path, 1)
    assert 'save_best must name a metric' in fails(
        tmp_path / 'b', 1, 'default_hooks.checkpoint.save_best=auto'
    )
    assert '--stages must be at least 1' in fails(tmp_path / 'c', 0)


def test_previous_weights_gone(tmp_path):
    cfg = Config(
        dict(
            work_dir=str(tmp_path),
            default_hooks=dict(checkpoint=dict(save_best='AP', rule='greater')),
        )
    )
    record = iterative.StageRecord(str(tmp_path), cfg)
    record.add(dict(stage=0, best=1.0, metric='AP', checkpoint='stage_0/gone.pth'))
    with pytest.raises(InputError, match='gone.pth, the best of'):
        iterative.train_stages(cfg, stages=2, patience=1)


@pytest.mark.parametrize(
    'best, greater, patience, expected',
    [
        ([1.0], True, 1, False),
        ([1.0, 2.0], True, 1, False),
        ([2.0, 2.0], True, 1, True),
        ([2.0, 1.0], False, 1, False),
        ([1.0, 2.0], False, 1, True),
        ([2.0, 1.0], True, 2, False),
        ([2.0, 1.0, 1.0], True, 2, True),
        ([1.0, 3.0, 2.0], True, 2, False),
    ],
)
def test_patience(best, greater, patience, expected):
    stages = [dict(best=value) for value in best]
    assert iterative.stale(stages, greater, patience) is expected


def test_resumable_checkpoints(tmp_path, caplog):
    """A broken newest checkpoint and an empty pointer lose one epoch."""
    assert find_resumable(str(tmp_path)) is None
    for epoch in (2, 9, 10):
        torch.save(dict(state_dict={}), tmp_path / f'epoch_{epoch}.pth')
    torch.save({}, tmp_path / 'best_AP_epoch_11.pth')
    (tmp_path / 'last_checkpoint').write_text('')
    assert find_resumable(str(tmp_path)) == str(tmp_path / 'epoch_10.pth')
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_9.pth'))
    assert find_resumable(str(tmp_path)) == str(tmp_path / 'epoch_9.pth')
    (tmp_path / 'epoch_9.pth').write_bytes(b'half')
    assert find_resumable(str(tmp_path)) == str(tmp_path / 'epoch_10.pth')
    for path in tmp_path.glob('epoch_*.pth'):
        path.write_bytes(b'half')
    with pytest.raises(InputError, match='epoch_9.pth cannot be read'):
        find_resumable(str(tmp_path))
