import json
import runpy
import sys
from pathlib import Path

import pytest
from synthetic import make_all

from lpn_mmpose.analysis import training_speed

ROOT = Path(__file__).parents[1]
TOOL = ROOT / 'tools/analysis/benchmark_training.py'
LSPET = ROOT / 'configs/body_2d_keypoint/lpn/lspet/td-hm_lpn50_1xb32-60e_lspet-128x128.py'


def test_benchmark(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(make_all(tmp_path))
    monkeypatch.setattr(
        sys,
        'argv',
        [
            str(TOOL),
            str(LSPET),
            '--batch-size',
            '2',
            '--repeats',
            '1',
            '--threads',
            '1',
            '--rows',
            '0',
            '4',
            '5',
            '--json',
            'speed.json',
        ],
    )
    runpy.run_path(str(TOOL), run_name='__main__')
    result = json.loads(Path('speed.json').read_text())
    assert result['threads'] == 1 and result['batch_size'] == 2
    assert result['input_size'] == [128, 128] and result['data_ms'] > 0
    names = list(training_speed.ROWS)
    assert [row['name'] for row in result['rows']] == [names[0], names[4], names[5]]
    for row in result['rows']:
        slow, fast = row['spread']
        assert 0 < slow <= row['images_per_second'] <= fast
        # one timed step: its parts make up the whole
        parts = sum(row[part] for part in training_speed.PARTS)
        assert parts == pytest.approx(1e3 / row['images_per_second'], rel=0.01)
    printed = capsys.readouterr().out.splitlines()
    assert printed[-3].startswith(names[0]) and ' 1.00 ' in printed[-3]
    assert sum('(default)' in line for line in printed) == 1


def test_missing_data(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'argv', [str(TOOL), str(LSPET)])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(TOOL), run_name='__main__')
    assert end.value.code == 2
    assert 'lspet_train.json does not exist' in capsys.readouterr().err
