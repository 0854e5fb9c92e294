"""What ``tools/matrix.py`` does beside installing and testing for hours."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def matrix(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / 'tools')
    import matrix

    yield matrix
    for name in ('matrix', 'install'):
        del sys.modules[name]


def test_pins_replace_constraints(matrix):
    usual = (ROOT / 'constraints.txt').read_text().splitlines()
    assert matrix.constraints_of(matrix.Stack('3.13')) == usual
    oldest = matrix.constraints_of(matrix.STACKS['oldest torch'])
    assert [line for line in oldest if line.startswith('torch')] == [
        'torch==2.6.0',
        'torchvision==0.21.0',
    ]
    assert [line for line in oldest if line.startswith('numpy')] == ['numpy==1.26.4']
    assert 'mmpose==1.3.2' in oldest
    assert matrix.constraints_of(matrix.STACKS['newest']) == []


def test_a_second_call_goes_on(matrix, tmp_path, monkeypatch):
    page = tmp_path / 'page.md'
    page.write_text(
        'before\n\n<!-- matrix -->\nold\n'
        '| python3.12 | of another machine |\n| python3.13 | replaced |\n'
        '<!-- end of matrix -->\n\nafter\n'
    )
    measured = []

    def measure(name, folder, keep):
        measured.append(name)
        if name == 'newest':
            raise KeyboardInterrupt
        if name == 'python3.14':
            return dict(problem='no python3.14 on this machine')
        found = {'python': '3.13.0', 'numpy': '2.4.6', 'mmcv-lite': '2.1.0'}
        return dict(versions=found, passed=700, failed=1, skipped=2, failures=['t'])

    monkeypatch.setattr(matrix, 'PAGE', page)
    monkeypatch.setattr(matrix, 'measure', measure)
    command = ['matrix.py', '--folder', str(tmp_path)]
    monkeypatch.setattr(sys, 'argv', [*command, 'python3.13', 'python3.14', 'newest'])
    with pytest.raises(KeyboardInterrupt):
        matrix.main()
    monkeypatch.setattr(sys, 'argv', [*command, 'python3.14', 'python3.13'])
    matrix.main()
    assert measured == ['python3.13', 'python3.14', 'newest']
    head, rows, tail = page.read_text().split('\n\n')
    assert (head, tail) == ('before', 'after\n')
    assert '| python3.13 | 3.13.0 | – | 2.4.6 | – | – | mmcv-lite 2.1.0 |' in rows
    assert '| 700 | 1 | 2 | 20' in rows and 'old' not in rows
    assert '| python3.14 | no python3.14 on this machine |' in rows
    assert '| python3.12 | of another machine |' in rows and 'replaced' not in rows
    new = [row for row in rows.splitlines()[1:-1] if 'another' not in row]
    assert {len(row.split('|')) for row in new} == {15}
    results = json.loads((tmp_path / 'results.json').read_text())
    assert results['python3.13']['failures'] == ['t']


def test_unknown_stack():
    command = [sys.executable, ROOT / 'tools/matrix.py', 'python2.7']
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and 'no stack python2.7; there are python3.10' in done.stderr
