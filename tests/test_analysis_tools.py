"""One small training run, looked at by every tool of tools/analysis."""

import json

import cv2
import pytest
from conftest import forget_visualizers
from mmengine.config import Config
from paths import LSPET, SMALL
from tensorboard.backend.event_processing.event_accumulator import (
    EventAccumulator,
)


@pytest.fixture
def trained(run, data, monkeypatch):
    """Work directory of a run that was resumed, with the test's dump."""
    work_dir = data / 'work'
    if not work_dir.exists():
        monkeypatch.setenv('LPN_TENSORBOARD', '1')
        options = ['--work-dir', work_dir, '--cfg-options', *SMALL]
        run('train.py', LSPET, *options, 'train_cfg.max_epochs=1')
        forget_visualizers()
        run('train.py', LSPET, '--resume', *options, 'train_cfg.max_epochs=2')
        forget_visualizers()
        run(
            'test.py',
            LSPET,
            work_dir / 'epoch_2.pth',
            '--dump',
            work_dir / 'dump.pkl',
            '--out',
            work_dir / 'metrics.json',
            *options,
        )
    return work_dir


def test_tensorboard(trained):
    first, second = (
        EventAccumulator(str(path)).Reload()
        for path in sorted(trained.glob('*/vis_data'))
        if (path / 'scalars.json').exists()
    )  # test.py writes none
    for events, steps in (first, [1, 2]), (second, [3, 4]):
        assert [event.step for event in events.Scalars('loss')] == steps
        assert events.Scalars('torso/PCK@0.2')


@pytest.mark.parametrize('value, count', [(None, 1), ('0', 1), ('1', 2)])
def test_no_tensorboard_unless_asked_for(value, count, monkeypatch):
    if value is None:
        monkeypatch.delenv('LPN_TENSORBOARD', raising=False)
    else:
        monkeypatch.setenv('LPN_TENSORBOARD', value)
    backends = Config.fromfile(LSPET).visualizer.vis_backends
    types = ['LocalVisBackend', 'TensorboardVisBackend']
    assert [backend.type for backend in backends] == types[:count]


def test_analyze_logs(trained, run, tmp_path, capsys):
    capsys.readouterr()
    out = tmp_path / 'new/curves.png'
    run('analysis/analyze_logs.py', 'plot_curve', trained, '--out', out, '--legend', 'tiny')
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == 'tiny' and 'epoch 2, iteration 4: loss' in lines[1]
    assert 'torso/PCK@0.2: last' in lines[2] and lines[-1] == f'drawn {out}'
    assert cv2.imread(str(out)).std() > 0
    run('analysis/analyze_logs.py', 'cal_train_time', trained)
    assert 's an iteration' in capsys.readouterr().out


def test_analyze_logs_bad_input(trained, fails, tmp_path, capsys):
    capsys.readouterr()

    def fail(*args):
        return fails('analysis/analyze_logs.py', 'plot_curve', *args)

    assert 'no/dir does not exist' in fail('no/dir')
    line = fail(trained, '--keys', 'los')
    assert 'no run has los' in line and 'loss_kpt' in line
    assert '--legend' in fail(trained, trained)
    assert '--out curves.txt' in fail(trained, '--out', 'curves.txt')


def test_analyze_errors(trained, run, data, tmp_path, capsys):
    capsys.readouterr()
    args = [LSPET, trained / 'dump.pkl', '--out-dir', tmp_path, '--num', 3]
    run('analysis/analyze_errors.py', *args)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == f'written {tmp_path}'
    result = json.loads((tmp_path / 'errors.json').read_text())
    metrics = json.loads((trained / 'metrics.json').read_text())
    assert result['mean']['pck'] == pytest.approx(metrics['torso/PCK@0.2'])
    assert len(result['worst']) == len(result['even']) == 3
    for name in ('pck', 'outcomes'):
        assert cv2.imread(str(tmp_path / f'{name}.png')).std() > 0
    for name in ('worst', 'even'):
        sheet = cv2.imread(str(tmp_path / f'{name}.png'))
        assert sheet.shape == (192 + 18, 3 * 2 * 192, 3)
        truth, prediction = sheet[18:, :192], sheet[18:, 192:384]
        assert truth.std() > 0 and (truth != prediction).any()


def test_analyze_errors_where_the_images_went(trained, run, fails, data, tmp_path, capsys):
    capsys.readouterr()
    images = data / 'data/lspet/images'
    args = [LSPET, trained / 'dump.pkl', '--out-dir', tmp_path]
    line = fails('analysis/analyze_errors.py', *args, '--img-dir', 'gone')
    assert 'gone' in line and '--img-dir' in line
    run('analysis/analyze_errors.py', *args, '--img-dir', 'gone', '--num', 0)
    assert not (tmp_path / 'worst.png').exists()
    run('analysis/analyze_errors.py', *args, '--img-dir', images)
    assert (tmp_path / 'worst.png').exists()
    capsys.readouterr()
    assert '--thr' in fails('analysis/analyze_errors.py', *args, '--thr', -1)


def test_browse_dataset(run, fails, data, tmp_path, capsys):
    capsys.readouterr()
    out, sheet = tmp_path / 'out', tmp_path / 'sheets/train.png'
    args = [LSPET, '--output-dir', out, '--max-item-per-dataset', 3]
    run('analysis/browse_dataset.py', *args, '--contact-sheet', sheet)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == [f'drawn 3 pictures in {out}', f'contact sheet {sheet}']
    picture, *others = (cv2.imread(str(path)) for path in out.iterdir())
    height, width = picture.shape[:2]  # the heatmaps lie below
    assert len(others) == 2 and height == 2 * width
    assert cv2.imread(str(sheet)).shape == (height + 18, 3 * width, 3)
    assert str(out) in fails('analysis/browse_dataset.py', *args)
    line = fails(
        'analysis/browse_dataset.py',
        LSPET,
        '--cfg-options',
        'train_dataloader.dataset.ann_file=no.json',
    )
    assert 'no.json' in line
