"""The benchmark of inference, with few rows and runs."""

import json
import runpy
import sys
from pathlib import Path

import cv2
import pytest
from inference_benchmark import (
    OURS,
    Benchmark,
    Request,
    Row,
    comparisons,
)

from lpn_mmpose.models import LPN

ROOT = Path(__file__).parents[1]
TOOL = ROOT / 'tools/analysis/benchmark_inference.py'


def run(monkeypatch, *options):
    monkeypatch.setattr(sys, 'argv', [TOOL.name, *map(str, options)])
    runpy.run_path(str(TOOL), run_name='__main__')


def test_every_row_is_measured(tmp_path, monkeypatch, capsys):
    run(
        monkeypatch,
        '--models',
        OURS,
        '--engines',
        'ONNX Runtime',
        'OpenVINO',
        '--precisions',
        'fp32',
        '--batches',
        1,
        2,
        '--flip',
        'no',
        '--repeats',
        2,
        '--threads',
        1,
        '--no-memory',
        '--out-dir',
        tmp_path,
    )
    result = json.loads((tmp_path / 'benchmark_inference.json').read_text())
    rows = [(r['scope'], r['engine'], r['graph'], r['batch']) for r in result['rows']]
    network = [
        ('network', engine, graph, batch)
        for graph in ('plain', 'rewritten')
        for engine in ('ONNX Runtime', 'OpenVINO')
        for batch in (1, 2)
    ]
    whole = [
        ('end to end', engine, 'rewritten', batch)
        for engine in ('ONNX Runtime', 'OpenVINO')
        for batch in (1, 2)
    ]
    assert sorted(rows) == sorted(network + whole)
    for row in result['rows']:
        assert row['q1'] <= row['median'] <= row['q3'] and row['median'] > 0
        # 256x192 with 14 keypoints, by person
        assert row['macs'] / row['batch'] == pytest.approx(1066, abs=2)
        assert row['gflops'] == pytest.approx(2 * row['macs'] / row['batch'] / row['median'])
    limits = result['limits']
    assert all(limits[key] > 0 for key in ('fp32', 'int8', 'copy'))
    table = (tmp_path / 'benchmark_inference.md').read_text()
    assert table.count(f'| {OURS} |') == len(rows)
    assert 'fp32, times plain ONNX export' in table
    assert cv2.imread(str(tmp_path / 'benchmark_inference.png')).shape[1] > 600
    assert table.strip() in capsys.readouterr().out


def test_mmpose_computes_what_we_compute(tmp_path, monkeypatch):
    """Every person, and at our input size."""
    benchmark = Benchmark(
        Request(
            ROOT / 'demo/demo.jpg',
            [OURS],
            ['PyTorch'],
            ['fp32'],
            [3],
            [False, True],
            ['end to end'],
            threads=1,
        ),
        tmp_path,
    )
    benchmark.prepare()
    forward, shapes = LPN.forward, []

    def remember(self, x):
        shapes.append(tuple(x.shape))
        return forward(self, x)

    monkeypatch.setattr(LPN, 'forward', remember)
    for row in benchmark.rows:
        assert row.engine == 'MMPoseInferencer'
        row.run()
    assert shapes == [(3, 3, 256, 192)] * 3  # the last two mirrored


def test_comparisons():
    def row(median, **settings):
        common = dict(
            model=OURS,
            scope='network',
            engine='OpenVINO',
            graph='rewritten',
            precision='fp32',
            flip=False,
            batch=1,
        )
        return dict(common, median=median, gflops=2000 / median, **settings)

    result = dict(
        rows=[
            row(10.0),
            row(12.0) | dict(engine='ONNX Runtime'),
            row(40.0) | dict(graph='eager', engine='PyTorch'),
            row(14.0) | dict(graph='plain'),
            row(5.0) | dict(precision='int8'),
            row(5.5) | dict(precision='int8', scope='end to end'),
            row(4.0) | dict(precision='int8', scope='end to end', batch=16),
            row(50.0) | dict(scope='end to end', graph='eager', engine='MMPoseInferencer'),
        ]
    )
    values = dict(comparisons(result))
    assert values['fp32, times PyTorch eager'] == 4.0
    assert values['fp32, times plain ONNX export'] == 1.4
    assert values['int8, times our fp32'] == 2.0
    assert values['one person end to end, times the network alone'] == 1.1
    assert values['a person of sixteen, as a share of one alone'] == 4 / 5.5
    assert values['end to end, times MMPoseInferencer'] == pytest.approx(50 / 5.5)
    assert not any('RTMPose' in name for name in values)


def test_times_are_for_one_person():
    row = Row(
        OURS,
        'network',
        'OpenVINO',
        'rewritten',
        'fp32',
        False,
        4,
        macs=4000.0,
        times=[40.0, 48.0, 44.0],
    )
    assert row.median == 11.0 and row.quartiles == (10.5, 11.5)
    assert row.gflops == pytest.approx(2000 / 11)


@pytest.mark.parametrize(
    'options, message',
    [
        (['--image', 'none.jpg'], 'none.jpg'),
        (['--repeats', '0'], '--repeats must be positive'),
        (['--batches', '1', '0'], '--batches must be positive'),
        (['--models', OURS, '--engines', 'PyTorch', '--precisions', 'int8'], 'no row'),
    ],
)
def test_tool_says_in_one_line_what_is_wrong(options, message, tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit) as end:
        run(monkeypatch, *options, '--out-dir', tmp_path)
    assert end.value.code == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith('error:') and message in line
