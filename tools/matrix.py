#!/usr/bin/env python3
"""Test the supported stacks one after the other; `make matrix` calls it.

    python3 tools/matrix.py [NAME ...] [--folder DIR] [--keep] [--list]

Each stack gets a fresh environment in DIR, in which all tests run; it is
removed afterwards unless --keep (KEEP=1 of make). A result is kept in
DIR/results.json: a second call goes on with the stacks that have none for the
present state of the requirements and of the package. At the end the rows of
these stacks in docs/compatibility.md are written anew. Takes 20 minutes and 6 GB a stack.
"""

import argparse
import datetime
import hashlib
import json
import os
import re
import shutil
import subprocess
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import NamedTuple

from install import EVERYTHING, install, install_package, requirements

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / 'docs/compatibility.md'
#: Packages whose versions the table shows, by the heading.
COLUMNS = {
    'Python': 'python',
    'torch': 'torch',
    'NumPy': 'numpy',
    'OpenCV': 'opencv-python-headless',
    'xtcocotools': 'xtcocotools',
    'MMCV': ('mmcv-lite', 'mmcv', 'onedl-mmcv'),
    'MMEngine': ('mmengine', 'onedl-mmengine'),
    'MMDet': ('mmdet', 'onedl-mmdetection'),
}


class Stack(NamedTuple):
    """What an environment differs in from that of `make test`.

    Attributes:
        python (str): Version of the interpreter.
        pins (tuple[str]): Constraints in place of those of the same packages.
        openmmlab (tuple[str]): Packages in place of requirements/openmmlab.txt.
        constrained (bool): Whether constraints.txt counts at all.
        options (tuple[str]): More options of pip for the OpenMMLab packages.
    """

    python: str
    pins: tuple[str, ...] = ()
    openmmlab: tuple[str, ...] = ()
    constrained: bool = True
    options: tuple[str, ...] = ()


OLDEST_TORCH = ('torch==2.6.0', 'torchvision==0.21.0', 'numpy==1.26.4')
STACKS = {
    **{f'python{version}': Stack(version) for version in ('3.10', '3.11', '3.12', '3.13', '3.14')},
    'oldest torch': Stack('3.10', OLDEST_TORCH),
    'NumPy 2 and OpenCV 5 on 3.11': Stack(
        '3.11', ('numpy==2.4.6', 'opencv-python-headless==5.0.0.93')
    ),
    'newest': Stack('3.13', constrained=False),
    # its sources are C++17, and the headers of newer torch C++20
    'full mmcv': Stack(
        '3.11',
        OLDEST_TORCH,
        openmmlab=(
            'mmcv==2.1.0',
            'mmdet==3.3.0',
            'mmengine==0.10.7',
            'mmpose==1.3.2',
            'mmpretrain==1.2.0',
        ),
        options=('--no-build-isolation', '--no-binary', 'mmcv'),
    ),
    'onedl forks': Stack(
        '3.13',
        openmmlab=(
            'onedl-mmcv',
            'onedl-mmdetection',
            'onedl-mmengine',
            'mmpose==1.3.2',
            'mmpretrain==1.2.0',
        ),
    ),
}


def fingerprint(stack):
    """Return a digest of all that a result depends on."""
    digest = hashlib.sha256(repr(stack).encode())
    names = ('lpn_mmpose', 'tests', 'tools', 'configs', 'requirements', 'constraints.txt')
    listed = subprocess.check_output(['git', 'ls-files', '-z', *names], cwd=ROOT)
    for name in sorted(listed.decode().split('\0')):
        if (ROOT / name).is_file():
            digest.update(name.encode() + (ROOT / name).read_bytes())
    return digest.hexdigest()


def constraints_of(stack):
    """Return the lines of the constraints that count for a stack."""
    if not stack.constrained:
        return []
    replaced = {re.split('[<>=]', pin)[0] for pin in stack.pins}
    lines = (ROOT / 'constraints.txt').read_text().splitlines()
    kept = [line for line in lines if re.split('[<>=;]', line)[0] not in replaced]
    return [*kept, *stack.pins]


def find_python(version):
    """Return the path of an interpreter that starts, or None."""
    pyenv = (Path.home() / '.pyenv/versions').glob(f'{version}.*/bin/python')
    for name in (f'python{version}', *map(str, pyenv)):
        path = shutil.which(name)
        if path and subprocess.run([path, '-c', ''], capture_output=True).returncode == 0:
            return path
    return None


def create(stack, interpreter, folder):
    """Create the environment of a stack; return its interpreter."""
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([interpreter, '-m', 'venv', folder / 'venv'], check=True)
    python = str(folder / 'venv/bin/python')
    constraints = folder / 'constraints.txt'
    constraints.write_text('\n'.join(constraints_of(stack)) + '\n')
    constrained = ['--quiet', '--constraint', str(constraints)]
    install(python, *constrained, *requirements(*EVERYTHING))
    openmmlab = stack.openmmlab or requirements('openmmlab')
    if 'mmcv' in stack.options:  # its build needs them
        install(python, *constrained, 'ninja', 'psutil')
    install(python, *constrained, '--no-deps', *stack.options, *openmmlab)
    install_package(python, '--quiet', '--no-deps', '--no-build-isolation')
    return python


def versions(python):
    """Return the versions of all packages and of Python itself."""
    code = (
        'import json, platform; from importlib.metadata import distributions\n'
        'found = {d.name.lower().replace("_", "-"): d.version for d in distributions()}\n'
        'print(json.dumps(dict(found, python=platform.python_version())))'
    )
    return json.loads(subprocess.check_output([python, '-c', code]))


def test(python, folder):
    """Run all tests; return what pytest counted and the names of failures."""
    report = folder / 'report.xml'
    command = [python, '-m', 'pytest', '-n', '2', '--dist', 'loadfile', '--quiet']
    command += ['--max-worker-restart', '0']
    env = dict(os.environ, OMP_NUM_THREADS='1', TMPDIR=str(folder))
    subprocess.run([*command, f'--junitxml={report}'], cwd=ROOT, env=env)
    (suite,) = ElementTree.parse(report).getroot()
    failed = [
        f'{case.get("classname")}::{case.get("name")}'
        for case in suite
        if case.find('failure') is not None or case.find('error') is not None
    ]
    skipped = int(suite.get('skipped'))
    passed = int(suite.get('tests')) - skipped - len(failed)
    return dict(passed=passed, failed=len(failed), skipped=skipped, failures=failed)


def size(folder):
    """Return the gigabytes below a folder."""
    paths = (path for path in folder.rglob('*') if path.is_file() and not path.is_symlink())
    return sum(path.stat().st_size for path in paths) / 1e9


def measure(name, folder, keep):
    """Install a stack, test it and return its row of the table."""
    stack = STACKS[name]
    interpreter = find_python(stack.python)
    if interpreter is None:
        return dict(problem=f'no python{stack.python} on this machine')
    folder = folder / re.sub(r'\W+', '-', name)
    start = time.time()
    try:
        python = create(stack, interpreter, folder)
    except SystemExit as error:
        return dict(problem=f'cannot be installed: {error}')
    row = dict(seconds=round(time.time() - start), gigabytes=round(size(folder), 1))
    row.update(versions=versions(python), **test(python, folder))
    if not keep:
        shutil.rmtree(folder, ignore_errors=True)
    return row


def version_of(row, packages):
    names = (packages,) if isinstance(packages, str) else packages
    found = [
        (f'{name} ' if len(names) > 1 else '') + row['versions'][name]
        for name in names
        if name in row['versions']
    ]
    return ' '.join(found) or '–'


def table(results, former=''):
    """Return the table of the page, in Markdown.

    Rows of the former one stay for the stacks that have no result here.
    """
    kept = {line.split(' | ')[0].removeprefix('| '): line for line in former.splitlines()}
    head = ['stack', *COLUMNS, 'passed', 'failed', 'skipped', 'date']
    lines = ['| ' + ' | '.join(line) + ' |' for line in (head, ['---'] * len(head))]
    for name in STACKS:
        row = results.get(name)
        if row is None:
            lines += [kept[name]] if name in kept else []
            continue
        if 'problem' in row:
            cells = [row['problem'], *[''] * (len(head) - 3)]
        else:
            cells = [version_of(row, packages) for packages in COLUMNS.values()]
            cells += [str(row[key]) for key in ('passed', 'failed', 'skipped')]
        lines.append('| ' + ' | '.join([name, *cells, row['date']]) + ' |')
    return '\n'.join(lines)


def write_page(results):
    """Put the table between its marks in docs/compatibility.md."""
    marks = r'(?s)(<!-- matrix -->\n)(.*?)(<!-- end of matrix -->)'
    text = re.sub(
        marks, lambda mark: f'{mark[1]}{table(results, mark[2])}\n{mark[3]}', PAGE.read_text()
    )
    PAGE.write_text(text)


def main():
    parser = argparse.ArgumentParser(description='Test the supported stacks.')
    parser.add_argument('names', nargs='*', metavar='NAME', help='stacks (default: all)')
    parser.add_argument('--folder', type=Path, default=ROOT / 'outputs/matrix')
    parser.add_argument('--keep', action='store_true', help='keep the environments')
    parser.add_argument('--list', action='store_true', help='list the stacks')
    args = parser.parse_args()
    if args.list:
        print('\n'.join(STACKS))
        return
    unknown = set(args.names) - set(STACKS)
    if unknown:
        parser.error(f'no stack {", ".join(sorted(unknown))}; there are {", ".join(STACKS)}')
    args.folder.mkdir(parents=True, exist_ok=True)
    path = args.folder.resolve() / 'results.json'
    results = json.loads(path.read_text()) if path.is_file() else {}
    for name in args.names or STACKS:
        state = fingerprint(STACKS[name])
        if results.get(name, {}).get('state') != state:
            print(f'== {name}', flush=True)
            row = measure(name, path.parent, args.keep)
            results[name] = dict(row, state=state, date=str(datetime.date.today()))
            partial = path.with_suffix('.part')
            partial.write_text(json.dumps(results, indent=1))
            partial.replace(path)
        counted = {k: v for k, v in results[name].items() if k not in ('versions', 'state')}
        print(f'{name}: {counted}', flush=True)
    write_page(results)


if __name__ == '__main__':
    main()
