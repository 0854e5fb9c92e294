#!/usr/bin/env python3
"""Build the wheel and test it as a user gets it: plain pip, no constraints.

    python3 tools/test_wheel.py [FOLDER]

In FOLDER, or a temporary one, the wheel is installed into an empty environment
with the newest versions that its metadata allows. There the command lpn-pose,
the README's example and the runtime's tests run, away from the checkout.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from install import PIP_OPTIONS, check_python, fail, install

ROOT = Path(__file__).resolve().parents[1]
#: What a wheel is built from; a build leaves files beside them.
SOURCES = (
    *('LICENSE', 'MANIFEST.in', 'README.md', 'configs', 'lpn_mmpose', 'model-index.yml'),
    *('pyproject.toml', 'requirements', 'setup.cfg', 'setup.py', 'tools'),
)
#: The extras whose packages the runtime's tests use.
EXTRAS = 'tests,deploy'


def copy(names, folder):
    """Copy files and folders of the checkout."""
    ignored = shutil.ignore_patterns('__pycache__', '.mim')
    for name in names:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, folder)


def build(folder):
    """Build the wheel and return its path."""
    source = folder / 'source'
    source.mkdir()
    copy(SOURCES, source)
    command = [sys.executable, '-m', 'pip', 'wheel', '--quiet', *PIP_OPTIONS]
    run(*command, '--no-deps', '--wheel-dir', folder, source)
    (wheel,) = folder.glob('lpn_mmpose-*.whl')
    return wheel


def run(*command, **options):
    """Run a command, ending with one line if it fails."""
    if subprocess.run(command, **options).returncode:
        fail('failed: ' + ' '.join(map(str, command)))


def example():
    """Return the README's example of the runtime."""
    blocks = re.findall(r'```python\n(.*?)```', (ROOT / 'README.md').read_text(), re.DOTALL)
    (code,) = [block for block in blocks if 'PoseRuntime' in block]
    return code


def main():
    check_python()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(sys.argv[1] if len(sys.argv) > 1 else folder).resolve()
        folder.mkdir(exist_ok=True)
        start = time.time()
        wheel = build(folder)
        run(sys.executable, '-m', 'venv', folder / 'venv')
        programs = folder / 'venv/bin'
        python = str(programs / 'python')
        install(python, '--quiet', str(wheel))
        print(f'lpn-mmpose alone installed in {time.time() - start:.0f} s', flush=True)
        away = folder / 'away'
        away.mkdir()
        copy(['demo', 'pyproject.toml', 'tests'], away)
        shutil.copy(ROOT / 'demo/demo.jpg', away / 'photo.jpg')
        options = dict(cwd=away, env=dict(os.environ, OMP_NUM_THREADS='1', PYTHONPATH=''))
        run(programs / 'lpn-pose', 'photo.jpg', '--out', 'outputs', **options)
        for result in ('visualizations/photo.jpg', 'predictions/photo.json'):
            if not (away / 'outputs' / result).is_file():
                fail('lpn-pose wrote no ' + result)
        check = f'{example()}\nassert keypoints.shape == (1, 19, 2)'
        run(python, '-W', 'error::DeprecationWarning', '-c', check, **options)
        install(python, '--quiet', f'{wheel}[{EXTRAS}]')
        subprocess.call([python, '-m', 'pip', 'list', '--disable-pip-version-check'])
        # the tests' own folder is on the path, the checkout is not
        tests = ['--noconftest', '--quiet', '-p', 'no:cacheprovider', 'tests/test_runtime']
        run(programs / 'pytest', *tests, **options)


if __name__ == '__main__':
    main()
