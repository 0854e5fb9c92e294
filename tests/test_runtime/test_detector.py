import numpy as np
import pytest
import tiny_models

from lpn_mmpose.runtime import PersonDetector
from lpn_mmpose.runtime.engines import ENGINES

SIZE = (288, 192)
#: Where the detector has candidates in images of this size.
PERSONS = np.array([(48, 48, 144, 144), (192, 96, 288, 192)])


@pytest.fixture(scope='module')
def detector_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp('detector')
    return tiny_models.save_detector(folder / 'detector.onnx')


@pytest.mark.parametrize('backend', list(ENGINES))
def test_boxes_in_image_pixels(detector_file, backend):
    image, _ = tiny_models.scene(PERSONS, SIZE)
    detect = PersonDetector(detector_file, backend)
    boxes, scores = detect(image)
    assert boxes.dtype == scores.dtype == np.float32
    assert len(boxes) == 2 and (np.diff(scores) <= 0).all()
    np.testing.assert_allclose(boxes[boxes[:, 0].argsort()], PERSONS)
    assert scores.min() > 0.8
    for job in [detect.submit(image) for _ in range(3)]:
        for actual, wanted in zip(job.result(), (boxes, scores), strict=True):
            np.testing.assert_allclose(actual, wanted, atol=1e-4)


@pytest.mark.parametrize(
    'size, person',
    [
        ((96, 96), (32, 48, 64, 80)),
        ((192, 384), (64, 64, 192, 192)),
        ((97, 31), (0, 0, 31, 31)),
    ],
)
def test_letterbox(detector_file, size, person):
    """The padding is at the right and the bottom, and boxes are clipped."""
    image, _ = tiny_models.scene([person], size)
    boxes, _ = PersonDetector(detector_file, score_thr=0.7)(image)
    np.testing.assert_allclose(boxes, [person], atol=1.5)


def test_thresholds(tmp_path, detector_file):
    image, _ = tiny_models.scene(PERSONS, SIZE)
    # candidates beside the persons overlap them by half of their width
    loose = PersonDetector(detector_file, score_thr=0.3, iou_thr=0.5)
    many, scores = loose(image)
    assert len(many) > 2 and scores.min() > 0.3
    strict = PersonDetector(detector_file, score_thr=0.3, iou_thr=0.1)
    np.testing.assert_allclose(strict(image)[1], scores[:2])
    assert len(PersonDetector(detector_file, score_thr=0.99)(image)[0]) == 0
    one = tiny_models.save_detector(tmp_path / 'one.onnx', max_per_img=1)
    boxes, best = PersonDetector(one)(image)
    assert boxes.shape == (1, 4) and best[0] == scores[0]


def test_nobody(detector_file):
    image, _ = tiny_models.scene([])
    boxes, scores = PersonDetector(detector_file)(image)
    assert boxes.shape == (0, 4) and scores.shape == (0,)


def test_bad_image(detector_file):
    with pytest.raises(ValueError, match='must be uint8'):
        PersonDetector(detector_file)(np.zeros((5, 5)))
