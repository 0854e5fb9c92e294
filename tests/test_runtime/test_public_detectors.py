"""Detectors of other projects, beside a plain reading of their graphs."""

import json
import pickle
import zipfile

import cv2
import numpy as np
import onnxruntime
import public_detectors as public
import pytest
import tiny_models

from lpn_mmpose.errors import InputError
from lpn_mmpose.runtime import PersonDetector
from lpn_mmpose.runtime.download import CACHE
from lpn_mmpose.runtime.engines import ENGINES

WIDTH, HEIGHT = public.SIZE
MEAN, STD = (20.0, 60.0, 40.0), (200.0, 250.0, 300.0)


@pytest.fixture
def photo():
    """Return an image of blobs, larger than the networks' input and of another shape."""
    rng = np.random.default_rng(3)
    small = rng.integers(0, 256, (12, 11, 3), np.uint8)
    return cv2.resize(small, (150, 170), interpolation=cv2.INTER_CUBIC)


def plain_yolox(file, image, score_thr, iou_thr, decoded=False, person=0):
    """Read YOLOX's output row by row, as its own demo does."""
    ratio = min(HEIGHT / image.shape[0], WIDTH / image.shape[1])
    height, width = int(image.shape[0] * ratio), int(image.shape[1] * ratio)
    padded = np.full((HEIGHT, WIDTH, 3), 114, np.uint8)
    padded[:height, :width] = cv2.resize(image, (width, height))
    session = onnxruntime.InferenceSession(str(file))
    (rows,) = session.run(None, {'images': np.float32(padded.transpose(2, 0, 1))[None]})
    found = []
    for row, cell, (stride,) in zip(rows[0], *public.yolox_grid()):
        x, y = row[:2] if decoded else (row[:2] + cell) * stride
        w, h = row[2:4] if decoded else np.exp(row[2:4]) * stride
        score = row[4] * row[5 + person]
        if score > score_thr:
            found.append((score, np.array([x - w / 2, y - h / 2, x + w / 2, y + h / 2]) / ratio))
    found.sort(key=lambda pair: -pair[0])
    kept = []
    for score, box in found:
        for _, other in kept:
            low, high = np.maximum(box[:2], other[:2]), np.minimum(box[2:], other[2:])
            shared = np.prod(np.maximum(high - low, 0))
            areas = sum(np.prod(b[2:] - b[:2]) for b in (box, other))
            if shared / (areas - shared) > iou_thr:
                break
        else:
            kept.append((score, box))
    boxes = np.clip([box for _, box in kept], 0, [*image.shape[1::-1]] * 2)
    return boxes, np.array([score for score, _ in kept])


@pytest.mark.parametrize('backend', list(ENGINES))
@pytest.mark.parametrize('decoded', [False, True])
def test_yolox_equals_a_plain_reading(tmp_path, photo, backend, decoded):
    for seed in range(3):
        file = public.save_yolox(tmp_path / f'{seed}.onnx', decoded=decoded, seed=seed)
        boxes, scores = plain_yolox(file, photo, 0.3, 0.45, decoded)
        inside = (boxes[:, 2:] > boxes[:, :2]).all(1)
        assert 3 < inside.sum() < 60
        detect = PersonDetector(file, backend, score_thr=0.3, iou_thr=0.45)
        found, found_scores = detect(photo)
        np.testing.assert_allclose(found, boxes[inside], atol=2e-3)
        np.testing.assert_allclose(found_scores, scores[inside], atol=1e-5)


def test_class_of_persons(tmp_path, photo):
    file = public.save_yolox(tmp_path / 'yolox.onnx')
    boxes, _ = plain_yolox(file, photo, 0.3, 0.45, person=2)
    found, _ = PersonDetector(file, input=dict(person=2))(photo)
    np.testing.assert_allclose(found, boxes[(boxes[:, 2:] > boxes[:, :2]).all(1)], atol=2e-3)


def flat(color, size=(192, 128)):
    """Return an image of one colour that fills the input, twice as large."""
    return np.full((size[1], size[0], 3), color, np.uint8)


def write_pipeline(folder, **kwargs):
    values = dict(mean=MEAN, std=STD, to_rgb=False) | kwargs
    (folder / 'pipeline.json').write_text(json.dumps(public.pipeline(**values)))


@pytest.mark.parametrize('backend', list(ENGINES))
@pytest.mark.parametrize('size', [public.SIZE, None])
@pytest.mark.parametrize('to_rgb', [False, True])
def test_mmdeploy(tmp_path, backend, size, to_rgb):
    """Boxes of persons in image pixels, scores from the normalised channels."""
    file = public.save_dets(tmp_path / 'end2end.onnx', size)
    write_pipeline(tmp_path, to_rgb=to_rgb)
    color = (180, 250, 90)
    boxes, scores = PersonDetector(file, backend, score_thr=0.1)(flat(color))
    expected = ((np.array(color[::-1] if to_rgb else color) - MEAN) / STD)[:2]
    order = np.argsort(-expected)
    np.testing.assert_allclose(scores, expected[order], atol=1e-5)
    np.testing.assert_allclose(boxes, 2 * public.BOXES[order], atol=1e-4)


def test_mmdeploy_in_a_zip(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE, str(tmp_path / 'cache'))
    file = public.save_dets(tmp_path / 'end2end.onnx', None)
    write_pipeline(tmp_path)
    with zipfile.ZipFile(tmp_path / 'rtmdet.zip', 'w') as archive:
        archive.write(file, 'rtmdet/end2end.onnx')
        archive.write(tmp_path / 'pipeline.json', 'rtmdet/pipeline.json')
        archive.writestr('rtmdet/detail.json', '{}')
    expected = PersonDetector(file)(flat(250))
    for _ in range(2):
        found = PersonDetector(tmp_path / 'rtmdet.zip')(flat(250))
        np.testing.assert_array_equal(found[0], expected[0])
        assert len(found[0]) == 2


def test_padding_and_place(tmp_path):
    """A wide image, of which the rest is padding, counts as much as its share."""
    file = public.save_dets(tmp_path / 'end2end.onnx')
    options = dict(mean='0', std='255', pad=51)
    image = flat(255, (192, 64))  # half of the input's height
    boxes, scores = PersonDetector(file, input=options)(image)
    np.testing.assert_allclose(scores, (255 + 51) / 2 / 255, atol=1e-5)
    clipped = np.clip(2 * public.BOXES[:2], 0, [192, 64] * 2)
    np.testing.assert_allclose(np.sort(boxes, 0), np.sort(clipped, 0), atol=1e-4)
    boxes, _ = PersonDetector(file, input=options | dict(fit='center'))(image)
    clipped = np.clip(2 * (public.BOXES[:2] - [0, 16] * 2), 0, [192, 64] * 2)
    np.testing.assert_allclose(np.sort(boxes, 0), np.sort(clipped, 0), atol=1e-4)
    boxes, scores = PersonDetector(file, input=options | dict(fit='stretch'))(image)
    np.testing.assert_allclose(scores, 1, atol=1e-5)
    np.testing.assert_allclose(
        np.sort(boxes, 0), np.sort(public.BOXES[:2] * ([2, 1] * 2), 0), atol=1e-4
    )


@pytest.mark.parametrize('backend', list(ENGINES))
def test_suppression_inside(tmp_path, backend):
    """Only as many boxes as the graph counts, and only persons."""
    file = public.save_num_dets(tmp_path / 'yolo.onnx')
    detect = PersonDetector(file, backend, input=dict(mean=0, std=255))
    boxes, scores = detect(flat((128, 255, 255)))
    np.testing.assert_allclose(boxes, 2 * public.BOXES[:1], atol=1e-4)
    np.testing.assert_allclose(scores, 128 / 255, atol=1e-5)


def test_boxes_of_one_class(tmp_path):
    file = public.save_dets(tmp_path / 'person.onnx', labels=False)
    boxes, _ = PersonDetector(file, input=dict(mean=0, std=255))(flat(200))
    assert len(boxes) == 3


def test_nothing_is_guessed(tmp_path):
    file = public.save_dets(tmp_path / 'end2end.onnx', None)
    with pytest.raises(InputError, match='size and mean and std.*--det-input'):
        PersonDetector(file)
    with pytest.raises(InputError, match='does not say the mean and std'):
        PersonDetector(file, input=dict(size='96x64'))
    like = PersonDetector(file, input=dict(like='rtmdet-nano'))
    assert like.meta.input_size == (320, 320) and like.meta.mean[0] == 103.53
    assert PersonDetector(file, input=dict(like='rtmdet-m', size='96x64')).meta.input_size == (
        96,
        64,
    )


@pytest.mark.parametrize(
    'given, what',
    [
        (dict(colour='bgr'), 'colour'),
        (dict(size='wide'), 'size=wide'),
        (dict(size='0x3'), 'size=0x3'),
        (dict(std='0'), 'std=0'),
        (dict(order='gbr'), 'order=gbr'),
        (dict(mean='1,2'), 'mean=1,2'),
        (dict(size='32x32'), '96x64'),
        (dict(like='yolo9'), 'yolo9'),
    ],
)
def test_bad_options(tmp_path, given, what):
    with pytest.raises(InputError, match=what):
        PersonDetector(public.save_yolox(tmp_path / 'y.onnx'), input=given)


@pytest.mark.parametrize('shape', [(1, 84, 8400), (1, 25200, 85), (1, 300, 6), (1, 10)])
def test_other_kinds_are_refused(tmp_path, shape):
    file = public.save_other(tmp_path / 'other.onnx', shape)
    with pytest.raises(InputError) as caught:
        PersonDetector(file)
    message = str(caught.value)
    assert 'x float32 (1, 3, 64, 96)' in message
    assert f'predictions float32 {shape}' in message
    assert 'dets' in message and 'num_dets' in message and 'tools/deployment' in message


def test_damaged_pipeline(tmp_path):
    file = public.save_dets(tmp_path / 'end2end.onnx')
    (tmp_path / 'pipeline.json').write_text('{"pipeline": {}}')
    with pytest.raises(InputError, match='pipeline.json'):
        PersonDetector(file)


def test_own_export_takes_no_options(tmp_path):
    file = tiny_models.save_detector(tmp_path / 'own.onnx')
    with pytest.raises(InputError, match='mean'):
        PersonDetector(file, input=dict(mean=0))
    pose = tiny_models.save_pose(tmp_path / 'pose.onnx')
    with pytest.raises(InputError, match='for pose'):
        PersonDetector(pose)


def test_unknown_name():
    with pytest.raises(InputError, match='yolox-nano, yolox-tiny, rtmdet-nano, rtmdet-m'):
        PersonDetector('yolox-nan')


def test_person_class_that_is_not_there(tmp_path, photo):
    file = public.save_yolox(tmp_path / 'yolox.onnx', classes=3)
    with pytest.raises(InputError, match='yolox.onnx.*shapes'):
        PersonDetector(file, input=dict(person=3))(photo)


def test_pickled(tmp_path):
    """A copy loads the graph again, and knows how images go in."""
    file = public.save_dets(tmp_path / 'end2end.onnx')
    detect = PersonDetector(file, input=dict(mean=0, std=255))
    copy = pickle.loads(pickle.dumps(detect))
    for found, expected in zip(copy(flat(200)), detect(flat(200))):
        np.testing.assert_array_equal(found, expected)
