"""What ``tools/install.py`` does, with a stand-in for ``uv`` that takes notes."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lpn_mmpose.utils.install_hint import OPENMMLAB

ROOT = Path(__file__).parents[1]
TAKES_NOTES = """#!/bin/sh
echo "$@" >> "$NOTES"
for argument; do
    case "$argument" in *constraints.txt) cat "$argument" > "$NOTES.constraints";; esac
done
"""
AS_PYTHON = (
    'import runpy, sys; sys.version_info = {version}; sys.argv = ["install.py", "venv"];'
    f'runpy.run_path({str(ROOT / "tools/install.py")!r}, run_name="__main__")'
)


@pytest.fixture
def install(tmp_path):
    """Run ``tools/install.py`` in an empty folder with a venv in it."""
    programs = tmp_path / 'programs'
    programs.mkdir()

    def run(*args, uv=TAKES_NOTES, program=(str(ROOT / 'tools/install.py'),), **env):
        if uv:
            (programs / 'uv').write_text(uv)
            (programs / 'uv').chmod(0o755)
        env = dict(os.environ, NOTES=str(tmp_path / 'notes'), **env)
        env['PATH'] = f'{programs}:/usr/bin:/bin'
        done = subprocess.run(
            [sys.executable, *program, *args], cwd=tmp_path, env=env, capture_output=True, text=True
        )
        notes = tmp_path / 'notes'
        lines = notes.read_text().splitlines() if notes.exists() else []
        notes.unlink(missing_ok=True)
        done.commands = lines
        return done

    command = [sys.executable, '-m', 'venv', '--without-pip', tmp_path / 'venv']
    subprocess.run(command, check=True)
    return run


def error_of(done):
    """Return the one line that it ended with."""
    assert done.returncode == 1 and 'Traceback' not in done.stderr
    return done.stderr.splitlines()[-1]


def files_of(command):
    return [Path(name).stem for name in re.findall(r'--requirement (\S+)', command)]


def test_demo_then_everything(install, tmp_path):
    done = install('venv', '--demo')
    assert done.returncode == 0, done.stderr
    first, second, ours = done.commands
    assert files_of(first) == ['base', 'mmpose', 'runtime'] and ' torch' not in first
    assert files_of(second) == ['openmmlab'] and '--no-deps' in second
    assert '--no-deps --no-build-isolation' in ours and ours.endswith(f'--editable {ROOT}')
    assert f'--python {tmp_path / "venv/bin/python"}' in ours
    constraints = (tmp_path / 'notes.constraints').read_text()
    assert constraints == (ROOT / 'constraints.txt').read_text()
    assert install('venv', '--demo').commands == []

    first, second, ours = install('venv').commands
    assert {'mim', 'deploy', 'tests'} < set(files_of(first))
    assert install('venv', '--demo').commands == []
    assert install('venv').commands == []


def test_torch_of_an_index_of_ones_own(install, tmp_path):
    index = 'https://torch.example/cpu'
    torch, packages, *_ = install('venv', '--demo', '--torch-index', index).commands
    assert torch.endswith(f'--index-url {index} torch>=2.6 torchvision')
    assert index not in packages
    constraints = (tmp_path / 'notes.constraints').read_text().splitlines()
    pinned = {line.partition('==')[0] for line in constraints}
    assert not {'torch', 'torchvision'} & pinned and 'numpy' in pinned
    # what was chosen once stays, whatever is added
    assert f'--index-url {index}' in install('venv').commands[0]
    assert install('venv').commands == []
    assert 'other.example' in install('venv', '--torch-index', 'https://other.example').commands[0]


def test_torch_and_torchvision_of_different_builds(install, tmp_path):
    (packages,) = (tmp_path / 'venv/lib').glob('python*/site-packages')
    (packages / 'torch.py').write_text('__version__ = "2.13.0+cpu"')
    (packages / 'torchvision.py').write_text(
        'raise RuntimeError("operator torchvision::nms does not exist")'
    )
    done = install('venv', '--demo')
    assert 'torch 2.13.0+cpu and its torchvision: operator' in error_of(done)
    assert not (tmp_path / 'venv/lpn_mmpose.json').exists()
    (packages / 'torchvision.py').write_text('')
    assert install('venv', '--demo').returncode == 0


def test_runtime(install):
    done = install('venv', '--runtime')
    (command,) = done.commands
    assert f'--editable {ROOT}' in command and ' torch' not in command
    # nothing was really installed
    assert 'error: the runtime does not work without PyTorch' in error_of(done)


def test_python_of_an_environment_stays(install, tmp_path):
    python = tmp_path / 'venv/bin/python'
    python.unlink()
    python.write_text('#!/bin/sh\necho 3.9\n')
    python.chmod(0o755)
    done = install('venv', '--demo')
    assert 'has Python 3.9, and this is Python 3.1' in error_of(done) and not done.commands


def test_folder_that_cannot_be_made(install):
    assert '/proc/venv cannot be made' in error_of(install('/proc/venv'))


def test_checkout_in_the_current_folder_hides_nothing(tmp_path):
    """The folder of a clone has the package's name."""
    (tmp_path / 'lpn_mmpose').symlink_to(ROOT)
    code = 'import lpn_mmpose; print(lpn_mmpose.__version__)'
    done = subprocess.run(
        [sys.executable, '-c', code], cwd=tmp_path, capture_output=True, text=True
    )
    assert re.fullmatch(r'\d+\.\d+.*\n', done.stdout), done.stderr


def test_one_folder_is_not_both_environments(install):
    install('venv', '--demo')
    assert 'give another folder' in error_of(install('venv', '--runtime'))


def test_pip_where_uv_fails(install):
    done = install('venv', uv='#!/bin/sh\nexit 2')
    assert 'uv failed, see above; trying pip' in done.stdout
    assert error_of(done) == 'error: pip failed, see above; the same command goes on from here'


def test_no_network(install, tmp_path):
    # port 9 of this machine: nobody listens there
    nowhere = dict.fromkeys(('PIP_INDEX_URL', 'PIP_EXTRA_INDEX_URL'), 'http://127.0.0.1:9/simple')
    subprocess.run([sys.executable, '-m', 'venv', tmp_path / 'venv'], check=True)
    done = install(
        'venv', uv=None, PIP_CONFIG_FILE=os.devnull, PIP_RETRIES='0', PIP_FIND_LINKS='', **nowhere
    )
    assert 'error: pip cannot reach a package index' in error_of(done)


def test_python_without_venv(install):
    missing = 'import importlib.util; importlib.util.find_spec = lambda name: None;'
    done = install(program=('-c', missing + AS_PYTHON.format(version=(3, 12, 1))))
    assert "error: this Python has no module 'venv': install it" in error_of(done)
    assert 'apt install python3.12-venv' in error_of(done)


@pytest.mark.parametrize('version', [(3, 9, 18), (3, 15, 0)])
def test_unsupported_python(install, version):
    done = install(program=('-c', AS_PYTHON.format(version=version)))
    assert error_of(done) == (
        f'error: Python 3.{version[1]} is not supported: give one from 3.10 to 3.14, '
        'make PYTHON=python3.13'
    )


@pytest.mark.parametrize(
    'args', [(), ('--runtime',), ('a', 'b'), ('a', '--other'), ('a', '--demo', '--runtime')]
)
def test_usage(install, args):
    done = install(*args)
    assert done.returncode == 2 and 'usage: install.py' in done.stderr


def names_of(path):
    lines = path.read_text().splitlines()
    return {
        re.split('[<>=;]', line)[0].lower().replace('_', '-')
        for line in lines
        if not line.startswith('#')
    }


def test_every_requirement_is_pinned():
    pinned = names_of(ROOT / 'constraints.txt')
    for path in (ROOT / 'requirements').glob('*.txt'):
        assert names_of(path) <= pinned, path


def without_packages(code):
    """Run code where only the standard library and ours are."""
    return subprocess.run(
        [sys.executable, '-S', '-c', 'import lpn_mmpose, importlib.util\n' + code],
        env=dict(os.environ, PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize('name', ['mmpose', 'mmpose.apis', 'mmengine.config', 'mmcv'])
def test_missing_mmpose_says_how_to_install_it(name):
    done = without_packages(f'import {name}')
    message = done.stderr.splitlines()[-1]
    package = name.partition('.')[0]
    assert message.startswith(f"ModuleNotFoundError: No module named '{package}'; ")
    assert f'pip install --no-deps {" ".join(OPENMMLAB)}' in message
    constraints = (ROOT / 'constraints.txt').read_text().splitlines()
    assert set(OPENMMLAB) <= set(constraints)


def test_looking_for_mmpose_is_no_import():
    code = 'print([importlib.util.find_spec(n) for n in ("mmpose", "mmengine", "mmdet")])'
    assert without_packages(code).stdout.strip() == '[None, None, None]'


def test_help_lists_the_targets():
    run = subprocess.run(['make', '-C', ROOT, 'help'], capture_output=True, text=True)
    assert run.returncode == 0
    for target in ('demo', 'test', 'runtime-env', 'wheel-test', 'matrix', 'lint'):
        assert f'make {target} ' in run.stdout
