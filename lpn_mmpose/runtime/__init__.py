"""Run exported models on ordinary CPUs, without PyTorch or OpenMMLab.

Needs NumPy, opencv-python-headless and one engine, ONNX Runtime or OpenVINO:
``pip install lpn-mmpose``.

Example:
    >>> from lpn_mmpose.runtime import PoseRuntime      # doctest: +SKIP
    >>> pose = PoseRuntime()                            # doctest: +SKIP
    >>> keypoints, scores = pose(cv2.imread('demo.jpg'))    # doctest: +SKIP
    >>> keypoints.shape, scores.shape                   # doctest: +SKIP
    ((1, 19, 2), (1, 19))
"""

from .detector import PersonDetector
from .drawing import draw_poses
from .pose import PoseRuntime
from .tracking import KeypointSmoother, Persons, PoseTracker

__all__ = [
    'KeypointSmoother',
    'Persons',
    'PersonDetector',
    'PoseRuntime',
    'PoseTracker',
    'draw_poses',
]
