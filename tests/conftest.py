import pytest
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer

import lpn_mmpose  # noqa: F401  mends MMPose before any test imports it


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
