import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = (
    'lpn_mmpose',
    'configs',
    'tools',
    'requirements',
    'setup.py',
    'setup.cfg',
    'pyproject.toml',
    'constraints.txt',
    'MANIFEST.in',
    'model-index.yml',
    'README.md',
    'LICENSE',
)


@pytest.fixture(scope='module')
def installed(tmp_path_factory):
    """A folder with our wheel unpacked into it, as pip would.

    Built from a copy, as a build leaves files in its source folder.
    """
    folder = tmp_path_factory.mktemp('wheel')
    source = folder / 'source'
    source.mkdir()
    for name in SOURCES:
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(
                path, source / name, ignore=shutil.ignore_patterns('__pycache__', '.mim')
            )
        else:
            shutil.copy(path, source)
    run = subprocess.run(
        [
            sys.executable,
            '-m',
            'pip',
            'wheel',
            '--quiet',
            '--no-deps',
            '--no-build-isolation',
            '--no-index',
            '--wheel-dir',
            folder,
            source,
        ],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    (wheel,) = folder.glob('lpn_mmpose-*.whl')
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / 'site')
    return folder / 'site'


def python(code, site, cwd):
    """Run code that sees the wheel's content and not the checkout."""
    run = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=dict(os.environ, PYTHONPATH=str(site)),
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_wheel_carries_what_mim_looks_for(installed):
    mim = installed / 'lpn_mmpose/.mim'
    for name in ('configs', 'tools'):
        there = {str(path.relative_to(mim)) for path in (mim / name).rglob('*') if path.is_file()}
        here = {
            str(path.relative_to(ROOT))
            for path in (ROOT / name).rglob('*')
            if path.is_file() and '__pycache__' not in path.parts
        }
        # the tools of projects/cpu_benchmark, which wheels have not
        here -= {f'tools/analysis/{tool}.py' for tool in ('benchmark_inference', 'speed_accuracy')}
        assert there == here
    assert (mim / 'model-index.yml').is_file()
    weights = (installed / 'lpn_mmpose/weights').glob('lpn50*')
    assert sorted(path.suffix for path in weights) == ['.onnx', '.onnx', '.pth', '.pth']
    assert (installed / 'lpn_mmpose/runtime/detectors.json').is_file()
    assert not (installed / 'tests').exists()


def test_runtime_of_the_wheel_needs_no_torch(installed):
    (info,) = installed.glob('lpn_mmpose-*.dist-info')
    required = set()
    for line in (info / 'METADATA').read_text().splitlines():
        name, _, value = line.partition(': ')
        if name == 'Requires-Dist' and ';' not in value:
            required.add(re.match('[A-Za-z-]+', value)[0])
    assert required == {'numpy', 'tqdm', 'OneEuroFilter', 'onnxruntime', 'opencv-python-headless'}
    assert 'lpn-pose = lpn_mmpose.runtime.cli:main' in (info / 'entry_points.txt').read_text()


def test_configs_of_the_wheel_are_found_by_scope(installed, tmp_path):
    name = 'body_2d_keypoint/lpn/coco/td-hm_lpn50_8xb32-150e_coco-256x192.py'
    (tmp_path / 'mine.py').write_text(
        f"_base_ = 'lpn_mmpose::{name}'\ntrain_cfg = dict(max_epochs=3)\n"
    )
    out = python(
        'import lpn_mmpose\n'
        'print(lpn_mmpose.__file__)\n'
        'from mmengine import Config\n'
        "cfg = Config.fromfile('mine.py')\n"
        'print(cfg.train_cfg.max_epochs, cfg.model.backbone.type)\n',
        installed,
        tmp_path,
    )
    assert str(installed) in out
    assert out.splitlines()[-1] == '3 LPN'


def test_shipped_model_of_the_wheel_is_found_by_name(installed, tmp_path):
    out = python(
        'import lpn_mmpose\n'
        'from lpn_mmpose.zoo.model_index import find_model\n'
        "print(*find_model('LPN50-lsp'), sep='\\n')\n",
        installed,
        tmp_path,
    )
    config, weights = map(Path, out.splitlines()[-2:])
    assert config.is_file() and weights.is_file()
    assert installed in config.parents and installed in weights.parents


def test_mim_search_lists_our_models(installed, tmp_path):
    run = subprocess.run(
        [sys.executable, '-m', 'mim', 'search', 'lpn_mmpose', '--json', 'out'],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=dict(os.environ, PYTHONPATH=str(installed)),
    )
    assert run.returncode == 0, run.stderr
    found = json.loads((tmp_path / 'out').read_text())['config']
    listed = {(installed / 'lpn_mmpose/.mim' / path) for path in found.values()}
    assert all(path.is_file() for path in listed)
    names = {path.name for path in listed}
    assert 'td-hm_lpn50_8xb32-150e_coco-256x192.py' in names
    assert 'td-hm_lpn50_8xb32-150e_mpii-256x256.py' in names


def test_model_index_names_existing_files():
    import yaml

    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())
    names = []
    for metafile in index['Import']:
        content = yaml.safe_load((ROOT / metafile).read_text())
        for model in content['Models']:
            names += [model['Name'], *model.get('Alias', [])]
            assert (ROOT / model['Config']).is_file(), model['Config']
            if 'Weights' in model:
                assert (ROOT / model['Weights']).is_file()
    assert len(names) == len(set(names))
    configs = {path.stem for path in (ROOT / 'configs').rglob('td-hm_*.py')}
    assert configs <= set(names) | {'td-hm_lpn50_1xb32-60e_lspet-256x256'}
