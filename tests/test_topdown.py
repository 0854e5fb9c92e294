from pathlib import Path

import cv2
import numpy as np
import pytest
from mmcv.transforms import Compose
from mmpose.datasets.transforms import GetBBoxCenterScale, TopdownAffine
from mmpose.structures.bbox import get_warp_matrix

import lpn_mmpose  # noqa: F401
from lpn_mmpose.runtime import topdown

GOLDEN = Path(__file__).parent / 'golden'
INPUT_SIZE = (192, 256)


@pytest.fixture(scope='module')
def decoded():
    return np.load(GOLDEN / 'decode_17x64x48.npz')


@pytest.fixture(scope='module')
def crops():
    return np.load(GOLDEN / 'crop_256x192.npz')


@pytest.fixture(scope='module')
def boxes(crops):
    xywh = crops['boxes_xywh']
    return np.hstack([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]])


def within_one_grey_level(actual, golden):
    # The golden crops are exactly bilinear, as OpenCV 5.0 makes them; 4.11
    # rounds sampling positions to 1/32 pixel.
    return (np.abs(actual.astype(int) - golden) <= 1).mean()


def test_boxes_to_center_scale_golden(boxes, crops):
    center, scale = topdown.boxes_to_center_scale(boxes, INPUT_SIZE)
    assert center.dtype == scale.dtype == np.float32
    np.testing.assert_allclose(np.hstack([center, scale]), crops['center_scale'], atol=1e-4)


@pytest.mark.parametrize('input_size', [(192, 256), (256, 256), (288, 384)])
def test_boxes_to_center_scale_equals_mmpose(boxes, input_size):
    pipeline = Compose([GetBBoxCenterScale(), TopdownAffine(input_size)])
    center, scale = topdown.boxes_to_center_scale(boxes, input_size)
    for i, box in enumerate(boxes):
        results = pipeline(dict(img=np.zeros((4, 4, 3), np.uint8), bbox=box[None]))
        np.testing.assert_allclose(center[i], results['input_center'])
        np.testing.assert_allclose(scale[i], results['input_scale'], rtol=1e-6)


@pytest.mark.parametrize(
    'box', [[10, 20, 5, 40], [10, 20, 30, 20], [0, 0, np.nan, 9], [0, 0, np.inf, 9]]
)
def test_boxes_to_center_scale_names_a_bad_box(box):
    boxes = np.array([[0, 0, 10, 10], box], np.float32)
    with pytest.raises(ValueError, match='x1 < x2') as error:
        topdown.boxes_to_center_scale(boxes, INPUT_SIZE)
    assert str(boxes[1].tolist()) in str(error.value)


def test_no_persons():
    center, scale = topdown.boxes_to_center_scale(np.zeros((0, 4)), INPUT_SIZE)
    image = np.zeros((30, 40, 3), np.uint8)
    assert topdown.crop(image, center, scale, INPUT_SIZE).shape == (0, 256, 192, 3)
    heatmaps = np.zeros((0, 17, 64, 48), np.float32)
    coords, scores = topdown.soft_argmax(heatmaps)
    assert coords.shape == (0, 17, 2) and scores.shape == (0, 17)
    coords = topdown.quarter_offset(coords, heatmaps)
    assert topdown.to_image(coords, center, scale, (48, 64)).shape == (0, 17, 2)


@pytest.mark.parametrize('output_size', [(192, 256), (256, 256), (48, 64)])
def test_crop_matrix_equals_mmpose(decoded, output_size):
    center, scale = decoded['center'], decoded['scale']
    expected = [get_warp_matrix(c, s, 0.0, output_size) for c, s in zip(center, scale)]
    np.testing.assert_allclose(topdown.crop_matrix(center, scale, output_size), expected, atol=1e-4)
    np.testing.assert_allclose(
        topdown.crop_matrix(center[0], scale[0], output_size), expected[0], atol=1e-4
    )


def test_crop_golden(boxes, crops):
    center, scale = topdown.boxes_to_center_scale(boxes, INPUT_SIZE)
    actual = topdown.crop(crops['image'], center, scale, INPUT_SIZE)
    assert actual.shape == crops['crops'].shape and actual.dtype == np.uint8
    assert within_one_grey_level(actual, crops['crops']) >= 0.999


def test_mmpose_pipeline_golden(boxes, crops):
    pipeline = Compose([GetBBoxCenterScale(), TopdownAffine(INPUT_SIZE)])
    actual = np.stack([pipeline(dict(img=crops['image'], bbox=box[None]))['img'] for box in boxes])
    assert within_one_grey_level(actual, crops['crops']) >= 0.999
    center, scale = topdown.boxes_to_center_scale(boxes, INPUT_SIZE)
    np.testing.assert_array_equal(actual, topdown.crop(crops['image'], center, scale, INPUT_SIZE))


def test_crop_keeps_dtype_and_channels(boxes, crops):
    center, scale = topdown.boxes_to_center_scale(boxes, INPUT_SIZE)
    grey = crops['image'][..., 0].astype(np.float32)
    one = topdown.crop(grey, center, scale, INPUT_SIZE)
    assert one.shape == (4, 256, 192) and one.dtype == np.float32
    expected = topdown.crop(crops['image'], center, scale, INPUT_SIZE)
    assert np.abs(one - expected[..., 0]).max() <= 1
    np.testing.assert_array_equal(
        topdown.crop(grey[..., None], center, scale, INPUT_SIZE)[..., 0], one
    )


def test_soft_argmax_golden(decoded):
    coords, scores = topdown.soft_argmax(decoded['heatmaps'])
    assert coords.dtype == scores.dtype == np.float32
    np.testing.assert_allclose(coords, decoded['softargmax_heatmap_coords'], atol=1e-4)
    np.testing.assert_array_equal(scores, decoded['softargmax_maxvals'][..., 0].astype(np.float32))


def test_argmax_golden(decoded):
    coords, scores = topdown.argmax(decoded['heatmaps'])
    np.testing.assert_array_equal(scores, decoded['argmax_maxvals'][..., 0])
    assert (scores <= 0).any(), 'the golden file has an empty heatmap'
    np.testing.assert_array_equal(coords[scores <= 0], 0)


@pytest.mark.parametrize('name', ['argmax', 'softargmax'])
@pytest.mark.parametrize('refined', [False, True])
def test_decode_golden_in_the_image(decoded, name, refined):
    locate = dict(argmax=topdown.argmax, softargmax=topdown.soft_argmax)[name]
    coords, _ = locate(decoded['heatmaps'])
    if refined:
        coords = topdown.quarter_offset(coords, decoded['heatmaps'])
    keypoints = topdown.to_image(coords, decoded['center'], decoded['scale'], (48, 64))
    assert keypoints.dtype == np.float32
    expected = decoded[f'{name}_{"quarter" if refined else "raw"}']
    np.testing.assert_allclose(keypoints, expected, rtol=0, atol=1e-3)


def test_soft_argmax_leading_dimensions(decoded):
    heatmaps = decoded['heatmaps']
    coords, scores = topdown.soft_argmax(heatmaps)
    refined = topdown.quarter_offset(coords, heatmaps)
    for shape in [(2, 4, 17), (8 * 17,)]:
        maps = heatmaps.reshape(*shape, 64, 48)
        c, s = topdown.soft_argmax(maps)
        assert c.shape == (*shape, 2) and s.shape == shape
        np.testing.assert_array_equal(c.ravel(), coords.ravel())
        np.testing.assert_array_equal(s.ravel(), scores.ravel())
        np.testing.assert_array_equal(topdown.quarter_offset(c, maps).ravel(), refined.ravel())


def test_soft_argmax_against_float64(decoded):
    heatmaps = decoded['heatmaps'].astype(np.float64)
    peaks = heatmaps.max((-2, -1), keepdims=True)
    for beta in (1.0, 40.0, 160.0):
        weights = np.exp(beta * (heatmaps - peaks))
        weights /= weights.sum((-2, -1), keepdims=True)
        y, x = np.indices((64, 48))
        expected = np.stack([(weights * x).sum((-2, -1)), (weights * y).sum((-2, -1))], -1)
        coords, _ = topdown.soft_argmax(decoded['heatmaps'], beta)
        np.testing.assert_allclose(coords, expected, rtol=0, atol=5e-5)


def test_soft_argmax_is_stable_and_leaves_its_input():
    heatmaps = np.full((2, 64, 48), -3e4, np.float32)
    heatmaps[0, 10, 20] = 3e4
    heatmaps[1, 63, 47] = -np.float32(3e4) + 1
    before = heatmaps.copy()
    with np.errstate(over='raise', invalid='raise', divide='raise'):
        coords, scores = topdown.soft_argmax(heatmaps)
    np.testing.assert_allclose(coords, [[20, 10], [47, 63]], atol=1e-4)
    np.testing.assert_array_equal(scores, [3e4, -3e4 + 1])
    np.testing.assert_array_equal(heatmaps, before)


@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_soft_argmax_refuses_non_finite_heatmaps(value):
    heatmaps = np.zeros((2, 64, 48), np.float32)
    heatmaps[1, 3, 4] = value
    with pytest.raises(ValueError, match='NaN or infinity'), np.errstate(invalid='ignore'):
        topdown.soft_argmax(heatmaps)


def original_quarter_offset(coords, heatmaps):
    """The original's rule, one keypoint at a time."""
    coords = coords.copy()
    height, width = heatmaps.shape[1:]
    for point, heatmap in zip(coords, heatmaps):
        x, y = (int(np.floor(value + 0.5)) for value in point)
        if 1 < x < width - 1 and 1 < y < height - 1:
            dx = heatmap[y, x + 1] - heatmap[y, x - 1]
            dy = heatmap[y + 1, x] - heatmap[y - 1, x]
            point += np.sign([dx, dy]) * 0.25
    return coords


@pytest.mark.parametrize('size', [(12, 9), (3, 4), (2, 2), (1, 1)])
def test_quarter_offset_follows_the_release_everywhere(size):
    height, width = size
    rng = np.random.RandomState(0)
    # integer values, so that some neighbours are equal
    heatmaps = rng.randint(0, 3, (400, height, width)).astype(np.float32)
    coords = (rng.rand(400, 2) * (width - 1, height - 1)).astype(np.float32)
    coords[::3] = np.rint(coords[::3])
    coords[1::3] = np.floor(coords[1::3]) + 0.5
    coords = np.minimum(coords, np.float32([width - 1, height - 1]))
    before = coords.copy()
    actual = topdown.quarter_offset(coords, heatmaps)
    np.testing.assert_array_equal(actual, original_quarter_offset(coords, heatmaps))
    np.testing.assert_array_equal(coords, before)


def test_to_image_is_the_inverse_affine():
    rng = np.random.RandomState(0)
    width = rng.uniform(20, 3000, 50)
    scale = np.stack([width, width * 4 / 3], -1).astype(np.float32)
    center = rng.uniform(-500, 4000, (50, 2)).astype(np.float32)
    coords = (rng.rand(50, 17, 2) * (47, 63)).astype(np.float32)
    actual = topdown.to_image(coords, center, scale, (48, 64))
    for i in range(50):
        inverse = get_warp_matrix(center[i], scale[i], 0.0, (48, 64), inv=True)
        expected = cv2.transform(coords[i][None].astype(np.float64), inverse)
        np.testing.assert_allclose(actual[i], expected[0], rtol=0, atol=1e-3)
    matrices = topdown.crop_matrix(center, scale, (48, 64))
    ones = np.ones((50, 17, 1))
    back = np.concatenate([actual, ones], -1) @ matrices.swapaxes(-1, -2)
    np.testing.assert_allclose(back, coords, rtol=0, atol=1e-3)


def test_soft_argmax_of_another_memory_layout():
    """Heatmaps of a network in channels_last are not contiguous."""
    heatmaps = np.random.default_rng(0).random((2, 5, 8, 6), np.float32)
    channels_last = np.ascontiguousarray(heatmaps.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    assert not channels_last.flags.c_contiguous
    for ours, same in zip(topdown.soft_argmax(channels_last), topdown.soft_argmax(heatmaps)):
        np.testing.assert_array_equal(ours, same)
