"""The runtime without PyTorch and OpenMMLab, in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import tiny_models

from lpn_mmpose.runtime import PoseRuntime

ROOT = Path(__file__).parents[2]
#: Imports of these fail in the process, as if they were not installed.
BLOCKED = (
    'torch',
    'torchvision',
    'mmengine',
    'mmcv',
    'mmpose',
    'mmdet',
    'scipy',
    'PIL',
    'matplotlib',
    'openvino',
    'onnx',
)
BLOCKER = f"""
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in {BLOCKED}:
            raise ModuleNotFoundError(f'No module named {{name!r}}', name=name)

sys.meta_path.insert(0, Blocker())
for name in {BLOCKED}:
    try:
        __import__(name)
    except ModuleNotFoundError:
        continue
    raise SystemExit(f'{{name}} is not blocked')
"""


def python(code, *args):
    run = subprocess.run(
        [sys.executable, '-W', 'error::ImportWarning', '-c', BLOCKER + code, *map(str, args)],
        capture_output=True,
        text=True,
        env=dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1'),
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_import_takes_less_than_a_second():
    out = python(
        'import time\n'
        'start = time.process_time()\n'
        'import lpn_mmpose.runtime\n'
        'print(time.process_time() - start)\n'
        'assert "onnxruntime" not in sys.modules\n'
    )
    assert float(out) < 1


def test_runtime(tmp_path):
    image, expected = tiny_models.scene([(30, 40, 126, 136)])
    cv2.imwrite(str(tmp_path / 'scene.png'), image)
    model = tiny_models.save_pose(tmp_path / 'pose.onnx')
    out = python(
        'import cv2, json\n'
        'from lpn_mmpose.runtime import PoseRuntime\n'
        'pose = PoseRuntime(sys.argv[1], threads=1)\n'
        'keypoints, scores = pose(cv2.imread(sys.argv[2]),\n'
        '                         [[30, 40, 126, 136]])\n'
        'print(json.dumps(keypoints.tolist()))\n',
        model,
        tmp_path / 'scene.png',
    )
    np.testing.assert_allclose(json.loads(out), expected, atol=2.5)


def test_command(tmp_path):
    folder = tmp_path / 'in'
    folder.mkdir()
    boxes = [(48, 48, 144, 144)]
    image, _ = tiny_models.scene(boxes, (288, 192))
    cv2.imwrite(str(folder / 'scene.png'), image)
    writer = cv2.VideoWriter(
        str(folder / 'video.avi'), cv2.VideoWriter_fourcc(*'MJPG'), 10, (288, 192)
    )
    for _ in range(3):
        writer.write(image)
    writer.release()
    out = python(
        'from lpn_mmpose.runtime.cli import main\nsys.exit(main(sys.argv[1:]))\n',
        folder,
        '--model',
        tiny_models.save_pose(tmp_path / 'pose.onnx'),
        '--det',
        tiny_models.save_detector(tmp_path / 'detector.onnx'),
        '--track',
        '--smooth',
        '--out',
        tmp_path / 'out',
    )
    assert out.splitlines()[0].startswith('files: 2 done')
    results = json.loads((tmp_path / 'out/results.json').read_text())
    assert len(results) == 4
    np.testing.assert_allclose([r['bbox'][:2] for r in results[:2]], [[48, 48]] * 2)


def test_shipped_model(tmp_path):
    """A standing person: the head above the hips, these above the ankles."""
    out = python(
        'from lpn_mmpose.runtime.cli import main\nsys.exit(main(sys.argv[1:]))\n',
        ROOT / 'demo/demo.jpg',
        '--out',
        tmp_path,
    )
    assert 'nose' in out and 'files: 1 done' in out
    (person,) = json.loads((tmp_path / 'predictions/demo.json').read_text())
    y = {
        name: point[1]
        for name, point in zip(PoseRuntime().meta.keypoint_names, person['keypoints'])
    }
    for side in ('left', 'right'):
        assert y['head'] < y[f'{side}_hip'] < y[f'{side}_ankle']
    picture = cv2.imread(str(tmp_path / 'visualizations/demo.jpg'))
    assert picture.shape == cv2.imread(str(ROOT / 'demo/demo.jpg')).shape
