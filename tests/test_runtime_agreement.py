"""The runtime and MMPose give the same keypoints."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmpose.apis import MMPoseInferencer, inference_topdown
from paths import DETECTOR_CONFIG
from random_models import save_random, spread_boxes

from lpn_mmpose.deploy import export as deploy
from lpn_mmpose.deploy.export import export
from lpn_mmpose.runtime import PersonDetector, PoseRuntime
from lpn_mmpose.runtime.engines import ENGINES, find_exported_model, load_engine
from lpn_mmpose.runtime.tracking import pairwise_iou
from lpn_mmpose.utils.config import load_config
from lpn_mmpose.zoo.model_index import find_model

ROOT = Path(__file__).parents[1]


def test_agrees_with_mmpose_inferencer(tmp_path):
    config, weights = find_model('lpn50-lsp')
    path = tmp_path / 'lpn50.onnx'
    # the config's test_cfg flips
    export(load_config(config), weights, path, flip=True)
    photo = cv2.imread(str(ROOT / 'demo/demo.jpg'))
    boxes = np.float32(
        [[0, 0, *photo.shape[1::-1]], [20, 10, 220, 320], [-30, 40, 150, 400], [5, 5, 80, 90]]
    )
    inferencer = MMPoseInferencer(config, weights, device='cpu', show_progress=False)
    whole = next(inferencer(photo))['predictions'][0][0]
    # the inferencer takes boxes from a detector alone, and passes them here
    persons = [
        person.pred_instances
        for person in inference_topdown(inferencer.inferencer.model, photo, boxes)
    ]
    wanted = np.concatenate([person.keypoints for person in persons])
    np.testing.assert_allclose(wanted[0], whole['keypoints'], atol=1e-3)
    for backend in ENGINES:
        keypoints, scores = PoseRuntime(path, backend)(photo, boxes)
        distance = np.linalg.norm(keypoints - wanted, axis=-1)
        assert (distance <= 0.5).mean() >= 0.99, distance
        np.testing.assert_allclose(
            scores, [person.keypoint_scores[0] for person in persons], atol=0.02
        )


@pytest.mark.parametrize('name', ['lpn50-body', 'lpn50-lsp'])
def test_the_shipped_export_is_of_the_shipped_weights(name):
    config, weights = find_model(name)
    model = deploy.load_model(load_config(config), weights)
    path = find_exported_model(name)
    meta = PoseRuntime(name).meta
    assert meta == replace(
        deploy.pose_meta(model, flip=False, decode=False, precision='fp16'), version=meta.version
    )
    # of persons: on noise a heatmap is nearly empty, and float16's errors are not
    photos = [cv2.imread(str(ROOT / 'demo' / name)) for name in ('demo.jpg', 'persons.jpg')]
    images = np.stack([cv2.resize(photo, meta.input_size) for photo in photos])
    difference, spread = deploy.check(
        load_engine(path, 'pose')(images), deploy.reference(model, meta, images), meta
    )
    assert difference <= 2e-3 * spread
    assert path.stat().st_size < 6.2e6


def test_boxes_agree_with_mmdet(tmp_path):
    from mmdet.apis import DetInferencer
    from mmengine.registry import DefaultScope

    with DefaultScope.overwrite_default_scope('mmpose'):
        weights = save_random(DETECTOR_CONFIG, tmp_path / 'rtmdet.pth', spread_boxes)
        path = tmp_path / 'rtmdet.onnx'
        export(load_config(DETECTOR_CONFIG), weights, path)
        image = cv2.imread(str(ROOT / 'demo/demo.jpg'))
        found = DetInferencer(
            DETECTOR_CONFIG, weights, device='cpu', scope='mmdet', show_progress=False
        )(image)['predictions'][0]
    boxes, scores = PersonDetector(path)(image)
    expected, expected_scores = (np.array(found[key]) for key in ('bboxes', 'scores'))
    # those in the padding right of the photograph are no persons
    expected = np.clip(expected, 0, np.tile(image.shape[1::-1], 2))
    inside = (expected[:, 2:] > expected[:, :2]).all(-1)
    expected, expected_scores = expected[inside], expected_scores[inside]
    assert len(boxes) > 10 and len(expected) > 10
    # random weights magnify rounding, so that suppression may differ
    same = (pairwise_iou(boxes, expected) > 0.95) & (
        np.abs(scores[:, None] - expected_scores) < 1e-3
    )
    assert same.any(0).mean() > 0.9 and same.any(1).mean() > 0.9
    assert same.any(0)[:10].all() and same.any(1)[:10].all()


def test_body_is_the_default():
    default = PoseRuntime().meta
    assert default == PoseRuntime('LPN50-body').meta
    assert default.keypoint_names[:2] == ('nose', 'left_eye')
    assert default.keypoint_names[17:] == ('head', 'neck')
    assert PoseRuntime(layout='mpii').meta.keypoint_names[9] == 'head_top'
