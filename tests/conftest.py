import runpy
import sys

import pytest
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer
from paths import ROOT
from synthetic import make_all

import lpn_mmpose  # noqa: F401  patches MMPose before any test imports it


def visualizer_classes(cls=Visualizer):
    """List a class and all that inherit from it."""
    return [cls] + [c for s in cls.__subclasses__() for c in visualizer_classes(s)]


def forget_visualizers():
    """Let the next run make a visualizer of its own, as in a new process."""
    for cls in visualizer_classes():
        cls._instance_dict.clear()


@pytest.fixture(autouse=True)
def nothing_left_behind():
    """A test must not find the visualizer or the scope that another one made."""
    yield
    forget_visualizers()
    DefaultScope._instance_dict.clear()


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return make_all(tmp_path_factory.mktemp('tools'))


@pytest.fixture
def plain_config_text(monkeypatch):
    """Laying out the configs in the logs would take half of the time."""
    config = 'mmengine.config.config.FormatCode'  # the onedl fork has none
    monkeypatch.setattr(config, lambda text, **_: (text, True), raising=False)


@pytest.fixture
def run(data, monkeypatch, plain_config_text):
    """Run a tool in this process, where ``data/`` lies."""

    def run(tool, *args):
        monkeypatch.chdir(data)
        monkeypatch.setattr(sys, 'argv', [tool, *map(str, args)])
        runpy.run_path(str(ROOT / 'tools' / tool), run_name='__main__')

    return run


@pytest.fixture
def fails(run, capsys):
    """Run a tool that must end in one line, and return the line."""

    def fails(tool, *args):
        with pytest.raises(SystemExit) as end:
            run(tool, *args)
        assert end.value.code == 2
        printed = capsys.readouterr()
        (line,) = printed.err.splitlines()
        assert line.startswith('error: ') and not printed.out
        return line

    return fails
