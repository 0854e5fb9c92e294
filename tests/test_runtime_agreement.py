"""The runtime and MMPose give the same keypoints."""
from pathlib import Path

import cv2
import numpy as np
from mmpose.apis import MMPoseInferencer, inference_topdown

from lpn_mmpose.cli import load_config
from lpn_mmpose.deploy.export import export
from lpn_mmpose.model_index import find_model
from lpn_mmpose.runtime import PoseRuntime
from lpn_mmpose.runtime.engines import ENGINES

ROOT = Path(__file__).parents[1]


def test_agrees_with_mmpose_inferencer(tmp_path):
    config, weights = find_model('lpn50-lsp')
    path = tmp_path / 'lpn50.onnx'
    # the config's test_cfg flips
    export(load_config(config), weights, path, flip=True)
    photo = cv2.imread(str(ROOT / 'demo/demo.jpg'))
    boxes = np.float32([[0, 0, *photo.shape[1::-1]], [20, 10, 220, 320],
                        [-30, 40, 150, 400], [5, 5, 80, 90]])
    inferencer = MMPoseInferencer(
        config, weights, device='cpu', show_progress=False)
    whole = next(inferencer(photo))['predictions'][0][0]
    # the inferencer takes boxes from a detector alone, and passes them here
    persons = [
        person.pred_instances for person in inference_topdown(
            inferencer.inferencer.model, photo, boxes)
    ]
    wanted = np.concatenate([person.keypoints for person in persons])
    np.testing.assert_allclose(wanted[0], whole['keypoints'], atol=1e-3)
    for backend in ENGINES:
        keypoints, scores = PoseRuntime(path, backend)(photo, boxes)
        distance = np.linalg.norm(keypoints - wanted, axis=-1)
        assert (distance <= 0.5).mean() >= 0.99, distance
        np.testing.assert_allclose(
            scores, [person.keypoint_scores[0] for person in persons],
            atol=0.02)
