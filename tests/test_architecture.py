"""The rules of docs/architecture.md."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / 'lpn_mmpose'
#: What runtime/ may import beside the standard library and itself.
RUNTIME_NEEDS = {'cv2', 'numpy', 'tqdm', 'onnxruntime', 'openvino', 'OneEuroFilter'}
HIGH = {'deploy', 'apis', 'zoo', 'analysis'}
#: Packages that import nothing of HIGH.
LOW = {
    'runtime',
    'models',
    'codecs',
    'datasets',
    'dataset_converters',
    'evaluation',
    'engine',
    'utils',
}


def imports(path):
    """Yield the full names that a module imports, also inside functions."""
    package = ('lpn_mmpose', *path.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            module = '.'.join([*start, *filter(None, [node.module])])
            for alias in node.names:
                yield f'{module}.{alias.name}'


def modules(*folders):
    return sorted(path for folder in folders for path in (PACKAGE / folder).rglob('*.py'))


def test_imports_are_resolved():
    names = set(imports(PACKAGE / 'runtime' / 'pose.py'))
    assert {'lpn_mmpose.runtime.topdown', 'lpn_mmpose.runtime.engines.load_engine'} <= names
    names = set(imports(PACKAGE / 'models' / 'pose_estimators' / 'exported.py'))
    assert 'lpn_mmpose.runtime.PoseRuntime' in names


@pytest.mark.parametrize('path', modules('runtime'), ids=lambda path: path.stem)
def test_runtime_needs_nothing_but_its_own(path):
    for name in imports(path):
        top, *inner = name.split('.')
        if top == 'lpn_mmpose':
            assert inner[0] in ('runtime', 'errors', 'version'), name
        else:
            assert top in sys.stdlib_module_names or top in RUNTIME_NEEDS, name


@pytest.mark.parametrize('folder', sorted(LOW))
def test_imports_go_down_only(folder):
    for path in modules(folder):
        parts = {tuple(name.split('.')[:2]) for name in imports(path)}
        assert not parts & {('lpn_mmpose', high) for high in HIGH}, path


def test_every_package_has_its_floor():
    folders = {path.name for path in PACKAGE.iterdir() if (path / '__init__.py').is_file()}
    assert folders == LOW | HIGH
    assert len(list(PACKAGE.glob('*.py'))) <= 5


@pytest.mark.parametrize(
    'module', ['lpn_mmpose', 'lpn_mmpose.runtime.cli', 'lpn_mmpose.dataset_converters']
)
def test_light_imports(module):
    code = (
        f'import sys, {module}\n'
        'heavy = {"torch", "mmengine", "mmcv", "mmpose", "mmdet"} & set(sys.modules)\n'
        'assert not heavy, heavy\n'
    )
    subprocess.run([sys.executable, '-c', code], check=True)


def listed():
    """Yield (module, name) for each row of docs/api.md."""
    module = None
    for line in (ROOT / 'docs' / 'api.md').read_text().splitlines():
        cells = [cell.strip() for cell in line.split('|')[1:-1]]
        if len(cells) == 3 and '`' in line:
            module = cells[0].strip('`') or module
            yield from ((module, name) for name in re.findall(r'`(\w+)`', cells[1]))


def test_what_the_docs_list_is_public():
    rows = list(listed())
    assert len(rows) > 20
    for module, name in rows:
        assert hasattr(importlib.import_module(module), name), (module, name)
    for module in {module for module, _ in rows}:
        public = getattr(importlib.import_module(module), '__all__', None)
        if public is not None:
            assert set(public) == {name for m, name in rows if m == module}, module
