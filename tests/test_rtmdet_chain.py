"""MMDet's RTMDet as the detector before LPN, in MMPose's inferencer."""

import os.path as osp
import sys
from pathlib import Path

import mmcv
import numpy as np
import pytest
import torch
from mmdet.apis import DetInferencer
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, DefaultScope, init_default_scope
from mmengine.utils import get_installed_path
from mmpose.apis import MMPoseInferencer
from torch.nn.modules.batchnorm import _BatchNorm

POSE_CONFIG = (
    Path(__file__)
    .parents[1]
    .joinpath(
        'configs', 'body_2d_keypoint', 'lpn', 'coco', 'td-hm_lpn50_8xb32-150e_coco-256x192.py'
    )
)
DETECTOR_CONFIG = osp.join(
    get_installed_path('mmpose'),
    '.mim',
    'demo',
    'mmdetection_cfg',
    'rtmdet_nano_320-8xb32_coco-person.py',
)


@pytest.fixture(scope='module', autouse=True)
def default_scope():
    """Undo, after the tests, what the detector does to the scope."""
    with DefaultScope.overwrite_default_scope('mmpose'):
        yield


@pytest.fixture(scope='module')
def image():
    """An uint8 image in shape (240, 320, 3), waves in each channel."""
    y, x = np.mgrid[:240, :320]
    waves = [np.sin(x / (5 + c)) + np.cos(y / (9 - c)) for c in range(3)]
    return (63 * np.stack(waves, -1) + 128).astype(np.uint8)


def save_random(config, path, change=None):
    """Save a model with random weights as MMEngine does."""
    cfg = Config.fromfile(config)
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    model = revert_sync_batchnorm(MODELS.build(cfg.model))
    # norm layers that know their inputs, or random weights fade the image
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.momentum = 1.0
    with torch.no_grad():
        model.train()(torch.randn(2, 3, 320, 320), None, 'tensor')
    if change is not None:
        change(model)
    meta = {}
    if cfg.default_scope == 'mmdet':
        meta['dataset_meta'] = dict(classes=('person',), palette=[(0, 0, 0)])
    torch.save(dict(state_dict=model.state_dict(), meta=meta), path)
    return str(path)


def spread_boxes(detector):
    """Scores about 0.5, and boxes that overlap their neighbours."""
    head = detector.bbox_head
    for cls, reg in zip(head.rtm_cls, head.rtm_reg):
        torch.nn.init.normal_(cls.weight, std=0.01)
        torch.nn.init.zeros_(cls.bias)
        torch.nn.init.constant_(reg.bias, 3.0)


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp('weights')
    return dict(
        pose2d_weights=save_random(POSE_CONFIG, folder / 'lpn.pth'),
        det_weights=save_random(DETECTOR_CONFIG, folder / 'rtmdet.pth', spread_boxes),
    )


def test_chain(image, weights, tmp_path, monkeypatch):
    suppressed = []
    nms_module = sys.modules['mmcv.ops.nms']
    nms = nms_module.nms

    def counting_nms(boxes, scores, *args, **kwargs):
        dets, keep = nms(boxes, scores, *args, **kwargs)
        suppressed.append(len(boxes) - len(keep))
        return dets, keep

    monkeypatch.setattr(nms_module, 'nms', counting_nms)
    detector = DetInferencer(
        DETECTOR_CONFIG, weights['det_weights'], device='cpu', scope='mmdet', show_progress=False
    )
    found = detector(image)['predictions'][0]
    scores, boxes = np.array(found['scores']), np.array(found['bboxes'])
    assert len(suppressed) == 1 and suppressed[0] > 0
    assert len(boxes) > 10 and np.all(boxes[:, 2:] > boxes[:, :2])

    path = str(tmp_path / 'waves.png')
    mmcv.imwrite(image, path)
    inferencer = MMPoseInferencer(
        pose2d=str(POSE_CONFIG), det_model=DETECTOR_CONFIG, det_cat_ids=[0], device='cpu', **weights
    )
    fifth = float(np.sort(scores)[-5])
    result = next(inferencer(path, bbox_thr=fifth, nms_thr=1.0, out_dir=str(tmp_path / 'out')))
    assert len(suppressed) == 2
    people = result['predictions'][0]
    kept = scores > fifth
    assert len(people) == kept.sum() == 4
    np.testing.assert_allclose([p['bbox_score'] for p in people], scores[kept])
    np.testing.assert_allclose([p['bbox'][0] for p in people], boxes[kept])
    for person in people:
        keypoints = np.array(person['keypoints'])
        x1, y1, x2, y2 = person['bbox'][0]
        # the crop is 1.25 times the box, enlarged to 3:4
        reach = (
            1.25 / 2 * np.array([max(x2 - x1, (y2 - y1) * 3 / 4), max(y2 - y1, (x2 - x1) * 4 / 3)])
        )
        centre = np.array([x1 + x2, y1 + y2]) / 2
        assert keypoints.shape == (17, 2)
        assert np.all(np.abs(keypoints - centre) <= reach + 1)
    assert (tmp_path / 'out' / 'predictions' / 'waves.json').is_file()
    drawn = mmcv.imread(str(tmp_path / 'out' / 'visualizations' / 'waves.png'))
    assert drawn.shape == image.shape and not np.array_equal(drawn, image)
