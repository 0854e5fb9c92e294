import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def install():
    spec = importlib.util.spec_from_file_location('install', ROOT / 'tools/install.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def message(install):
    with pytest.raises(SystemExit) as end:
        install.check_python()
    assert '\n' not in end.value.code
    return end.value.code


@pytest.mark.parametrize('version', [(3, 9, 18), (3, 13, 0)])
def test_unsupported_python(install, monkeypatch, version):
    monkeypatch.setattr(sys, 'version_info', version)
    assert f'Python 3.{version[1]} is not supported' in message(install)


def test_no_compiler_for_xtcocotools(install, monkeypatch):
    monkeypatch.setattr(sys, 'version_info', (3, 12, 1))
    monkeypatch.setattr(install.shutil, 'which', lambda name: None)
    assert 'xtcocotools has no wheel for Python 3.12' in message(install)
    install.check_python(runtime=True)
    monkeypatch.setattr(sys, 'version_info', (3, 11, 7))
    install.check_python()


@pytest.mark.parametrize('args', [(), ('--runtime',), ('a', 'b'), ('--other',)])
def test_usage(install, monkeypatch, args):
    monkeypatch.setattr(sys, 'argv', ['install.py', *args])
    with pytest.raises(SystemExit, match='usage: install.py VENV'):
        install.main()


def test_one_folder_is_not_both_environments(install, monkeypatch, tmp_path):
    (tmp_path / 'bin').mkdir()
    (tmp_path / 'bin/python').write_text('')
    (tmp_path / install.STAMP).write_text('{"requirements": "x"}')
    monkeypatch.setattr(sys, 'argv', ['install.py', str(tmp_path), '--runtime'])
    with pytest.raises(SystemExit, match='give another folder'):
        install.main()


def test_missing_venv(install, monkeypatch):
    monkeypatch.setattr(sys, 'version_info', (3, 11, 7))
    monkeypatch.setattr(install.importlib.util, 'find_spec', lambda name: None)
    assert "no module 'venv'" in message(install)


def test_no_network(install, monkeypatch):
    # port 9 of this machine: nobody listens there
    for name in ('PIP_INDEX_URL', 'PIP_EXTRA_INDEX_URL'):
        monkeypatch.setenv(name, 'http://127.0.0.1:9/simple')
    monkeypatch.setenv('PIP_CONFIG_FILE', os.devnull)
    monkeypatch.delenv('PIP_FIND_LINKS', raising=False)
    monkeypatch.setattr(install, 'PIP_OPTIONS', ['--retries', '0'])
    with pytest.raises(SystemExit, match='cannot reach a package index'):
        install.check_network(sys.executable)


def test_fingerprint_changes_with_the_constraints(install, monkeypatch, tmp_path):
    (tmp_path / 'requirements').mkdir()
    constraints = tmp_path / 'constraints.txt'
    constraints.write_text('numpy==1.26.4\n')
    monkeypatch.setattr(install, 'ROOT', str(tmp_path))
    before = install.fingerprint()
    assert before == install.fingerprint()
    constraints.write_text('numpy==1.26.3\n')
    assert before != install.fingerprint()


def test_every_requirement_is_pinned():

    def names(path):
        lines = path.read_text().splitlines()
        return {
            re.split('[<>=;]', line)[0].lower().replace('_', '-')
            for line in lines
            if not line.startswith('#')
        }

    pinned = names(ROOT / 'constraints.txt')
    for path in (ROOT / 'requirements').glob('*.txt'):
        assert names(path) <= pinned, path


def test_help_lists_the_targets():
    run = subprocess.run(['make', '-C', ROOT, 'help'], capture_output=True, text=True)
    assert run.returncode == 0
    for target in ('demo', 'test', 'runtime-env', 'lint'):
        assert f'make {target}' in run.stdout
