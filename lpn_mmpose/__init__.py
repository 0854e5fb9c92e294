"""LPN, the Lightweight Pose Network, as a plugin of MMPose.

Importing this package imports neither torch nor any OpenMMLab package: it only
arranges for them to work together (:mod:`lpn_mmpose.compat`) and to know our
models (:mod:`lpn_mmpose.zoo.model_index`) once they are imported.
"""

from . import compat
from .utils import install_hint
from .version import __version__
from .zoo import model_index

compat.install()
model_index.install()
install_hint.install()

__all__ = ['__version__']
