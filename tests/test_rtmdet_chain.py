"""MMDet's RTMDet as the detector before LPN, in MMPose's inferencer."""

import sys

import mmcv
import numpy as np
import pytest
from mmdet.apis import DetInferencer
from mmengine.registry import DefaultScope
from mmpose.apis import MMPoseInferencer
from paths import COCO, DETECTOR_CONFIG
from random_models import save_random, spread_boxes


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


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp('weights')
    return dict(
        pose2d_weights=save_random(COCO, folder / 'lpn.pth'),
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
        pose2d=str(COCO), det_model=DETECTOR_CONFIG, det_cat_ids=[0], device='cpu', **weights
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
