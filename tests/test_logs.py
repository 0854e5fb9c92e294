import json

import numpy as np
import pytest

from lpn_mmpose.analysis import logs
from lpn_mmpose.errors import InputError


def train(epoch, iteration, loss, **more):
    return dict(lr=1e-3, loss=loss, epoch=epoch, iter=iteration, step=iteration, **more)


def val(epoch, pck):
    return {
        'torso/PCK@0.2': pck,
        'torso/PCK@0.2/neck': 1.0,
        'data_time': 0.1,
        'time': 0.5,
        'step': epoch,
    }


def write(run, start, *rows, end=''):
    path = run / start / 'vis_data/scalars.json'
    path.parent.mkdir(parents=True)
    path.write_text(''.join(json.dumps(row) + '\n' for row in rows) + end)
    return path


@pytest.fixture
def resumed(tmp_path):
    """Killed in epoch 3, after iteration 50; resumed from epoch 2."""
    write(
        tmp_path, '20260101_000000',
        train(1, 20, 9.), val(1, 0.1), train(2, 40, 8.), val(2, 0.3),
        train(3, 50, 7.), end='{"lr": 0.001, "lo')  # yapf: disable
    write(tmp_path, '20260101_000500')
    write(
        tmp_path, '20260102_000000',
        train(3, 50, 6.), train(3, 60, 5.), val(3, 0.2))  # yapf: disable
    return tmp_path


def test_resumed_run_is_joined(resumed):
    rows = logs.read_scalars(str(resumed))
    steps, losses, unit = logs.curve(rows, 'loss')
    assert steps.tolist() == [20, 40, 50, 60] and unit == 'iteration'
    assert losses.tolist() == [9, 8, 6, 5]
    steps, values, unit = logs.curve(rows, 'torso/PCK@0.2')
    assert steps.tolist() == [1, 2, 3] and unit == 'epoch'
    assert values.tolist() == [0.1, 0.3, 0.2]


def test_run_begun_anew_counts_alone(resumed):
    write(resumed, '20260103_000000', train(1, 20, 4.0))
    assert logs.read_scalars(str(resumed)) == ([train(1, 20, 4.0)], [])


def test_one_start_or_one_file(resumed):
    start = resumed / '20260102_000000'
    rows = logs.read_scalars(str(start))
    assert len(rows[0]) == 2 and len(rows[1]) == 1
    assert logs.read_scalars(str(start / 'vis_data/scalars.json')) == rows


def test_summary(resumed):
    lines = logs.summary(logs.read_scalars(str(resumed)))
    assert lines == [
        'epoch 3, iteration 60: loss 5, lr 0.001',
        'torso/PCK@0.2: last 0.2000 (epoch 3), best 0.3000 (epoch 2)',
    ]
    rows = [], [dict(EPE=4.0, step=100), dict(EPE=5.0, step=200)]
    assert logs.summary(rows) == ['EPE: last 5.0000 (iteration 200), best 4.0000 (iteration 100)']


def test_bad_logs(tmp_path):
    with pytest.raises(InputError, match='no does not exist'):
        logs.read_scalars('no')
    with pytest.raises(InputError, match='no work directory'):
        logs.read_scalars(str(tmp_path))
    path = write(tmp_path, 'a', train(1, 1, 1.0))
    path.write_text('not JSON\n' + path.read_text())
    with pytest.raises(InputError, match='scalars.json, line 1 is no row'):
        logs.read_scalars(str(tmp_path))
    path.write_text('')
    with pytest.raises(InputError, match='no scalars yet'):
        logs.read_scalars(str(tmp_path))


def test_runs_share_panels(resumed, tmp_path):
    one = logs.read_scalars(str(resumed))
    other = [train(1, 10, 1.0)], [dict(NME=0.5, step=1)]
    keys = logs.default_keys([one, other])
    assert keys == ['loss', 'lr', 'torso/PCK@0.2', 'NME']
    figure = logs.draw_curves(dict(one=one, other=other), keys)
    assert [axes.get_title() for axes in figure.axes] == keys
    loss, _, pck, _ = figure.axes
    np.testing.assert_array_equal(loss.lines[0].get_ydata(), [9, 8, 6, 5])
    np.testing.assert_array_equal(loss.lines[1].get_ydata(), [1])
    np.testing.assert_array_equal(pck.lines[0].get_xdata(), [1, 2, 3])
    assert pck.get_xlabel() == 'epoch'
    assert loss.lines[1].get_color() == pck.lines[1].get_color()
    (names,) = [[text.get_text() for text in legend.get_texts()] for legend in figure.legends]
    assert names == ['one', 'other']


def test_iteration_times():
    times = [(1, 9.0), (1, 1.0), (1, 2.0), (2, 8.0), (2, 3.0)]
    rows = (
        [
            train(epoch, i, 1.0, time=time, data_time=time / 4)
            for i, (epoch, time) in enumerate(times, 1)
        ],
        [],
    )
    assert logs.iteration_times(rows) == dict(seconds=2, data_seconds=0.5)
    assert logs.iteration_times(rows, True)['seconds'] == 23 / 5
