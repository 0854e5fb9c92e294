import numpy as np
import pytest
import tiny_models

from lpn_mmpose.runtime import PoseRuntime, topdown
from lpn_mmpose.runtime.engines import ENGINES

#: Far enough from each other to be alone in their crops.
BOXES = [(30, 40, 126, 136), (170, 60, 266, 156), (300, 150, 350, 200)]


@pytest.fixture(scope='module')
def pose_file(tmp_path_factory):
    return tiny_models.save_pose(tmp_path_factory.mktemp('pose') / 'pose.onnx')


@pytest.mark.parametrize('backend', list(ENGINES))
def test_persons_of_an_image(pose_file, backend):
    image, expected = tiny_models.scene(BOXES)
    before = image.copy()
    keypoints, scores = PoseRuntime(pose_file, backend)(image, BOXES)
    assert keypoints.shape == (3, 6, 2) and scores.shape == (3, 6)
    assert keypoints.dtype == scores.dtype == np.float32
    # half a heatmap pixel: where the discs' edges lie on its grid
    np.testing.assert_allclose(keypoints, expected, atol=2.5)
    assert scores.min() > 0.7
    np.testing.assert_array_equal(image, before)


def test_whole_image_is_the_default_box(pose_file):
    image, expected = tiny_models.scene([(10, 15, 70, 75)], (80, 90))
    pose = PoseRuntime(pose_file)
    keypoints, scores = pose(image)
    np.testing.assert_allclose(keypoints, expected, atol=2.1)
    again = pose(image, np.array([[0, 0, 80, 90]]))
    np.testing.assert_array_equal(again[0], keypoints)


@pytest.mark.parametrize('max_batch', [1, 2, 16])
def test_list_of_images_equals_one_by_one(pose_file, max_batch):
    scenes = [
        tiny_models.scene(boxes, size)[0]
        for boxes, size in [(BOXES[:2], (288, 192)), ([], (50, 60)), (BOXES, (400, 260))]
    ]
    boxes = [BOXES[:2], np.zeros((0, 4)), BOXES]
    pose = PoseRuntime(pose_file, max_batch=max_batch)
    results = pose(scenes, boxes)
    assert [len(keypoints) for keypoints, _ in results] == [2, 0, 3]
    one = PoseRuntime(pose_file, max_batch=1)
    for image, image_boxes, result in zip(scenes, boxes, results):
        for actual, expected in zip(result, one(image, image_boxes)):
            np.testing.assert_allclose(actual, expected, atol=1e-4)
    assert [len(k) for k, _ in pose(scenes)] == [1, 1, 1]
    assert pose([]) == []


def test_a_batch_is_bounded(pose_file):
    pose = PoseRuntime(pose_file, max_batch=4)
    sizes, run = [], pose._engine
    pose._engine = lambda crops: sizes.append(len(crops)) or run(crops)
    image, _ = tiny_models.scene(BOXES)
    pose([image] * 3, [BOXES] * 3)
    assert sizes == [4, 4, 1]


def test_nobody(pose_file):
    image, _ = tiny_models.scene([])
    for boxes in ([], np.zeros((0, 4))):
        keypoints, scores = PoseRuntime(pose_file)(image, boxes)
        assert keypoints.shape == (0, 6, 2) and scores.shape == (0, 6)


def test_rgb_models_get_rgb(pose_file, tmp_path):
    rgb = tiny_models.save_pose(tmp_path / 'rgb.onnx', channel_order='rgb')
    image, _ = tiny_models.scene(BOXES)
    for a, b in zip(PoseRuntime(rgb)(image, BOXES), PoseRuntime(pose_file)(image, BOXES)):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_codec_of_the_metadata(pose_file, tmp_path):
    image, _ = tiny_models.scene(BOXES)
    (heatmaps,) = PoseRuntime(pose_file)._engine(
        topdown.crop(image, *topdown.boxes_to_center_scale(BOXES, (96, 128), 1.5), (96, 128))
    )
    center, scale = topdown.boxes_to_center_scale(BOXES, (96, 128), 1.5)
    for quarter in (False, True):
        path = tiny_models.save_pose(
            tmp_path / 'msra.onnx',
            codec='MSRAHeatmap',
            beta=None,
            quarter_offset=quarter,
            bbox_padding=1.5,
        )
        coords, expected_scores = topdown.argmax(heatmaps)
        if quarter:
            coords = topdown.quarter_offset(coords, heatmaps)
        keypoints, scores = PoseRuntime(path)(image, BOXES)
        np.testing.assert_allclose(keypoints, topdown.to_image(coords, center, scale, (24, 32)))
        np.testing.assert_allclose(scores, expected_scores)


def test_models_that_decode(tmp_path):
    path = tiny_models.save_decoding_pose(tmp_path / 'decoding.onnx')
    image = np.full((300, 300, 3), 160, np.uint8)
    box = (100, 60, 196, 188)  # as large as the input, crops 1.25 times that
    keypoints, scores = PoseRuntime(path)(image, [box])
    k = np.arange(6)
    expected = np.stack([8 * k, 4 * k + 20], -1) * 1.25 + (148 - 60, 124 - 80)
    np.testing.assert_allclose(keypoints[0], expected, atol=1e-3)
    np.testing.assert_allclose(scores, 160 / 255, atol=1e-5)


@pytest.mark.parametrize(
    'image, what',
    [
        (None, 'None, which cv2.imread returns'),
        (np.zeros((10, 10), np.uint8), r'uint8 of shape \(10, 10\)'),
        (np.zeros((10, 10, 4), np.uint8), r'uint8 of shape \(10, 10, 4\)'),
        (np.zeros((10, 10, 3)), 'float64 of shape'),
        (np.zeros((0, 10, 3), np.uint8), r'uint8 of shape \(0, 10, 3\)'),
    ],
)
def test_bad_image(pose_file, image, what):
    with pytest.raises(ValueError, match=f'must be uint8 .*{what}'):
        PoseRuntime(pose_file)([image])


@pytest.mark.parametrize(
    'boxes, text',
    [
        ([10, 20, 30, 40], 'must be in shape'),
        ([[10, 20, 30, 40, 0.9]], 'must be in shape'),
        ([[10, 20, 10, 40]], r'\[10.0, 20.0, 10.0, 40.0\]'),
    ],
)
def test_bad_boxes(pose_file, boxes, text):
    image, _ = tiny_models.scene([])
    pose = PoseRuntime(pose_file)
    with pytest.raises(ValueError, match=text):
        pose(image, boxes)
    with pytest.raises(ValueError, match='2 images .* boxes for 1'):
        pose([image, image], [boxes])
