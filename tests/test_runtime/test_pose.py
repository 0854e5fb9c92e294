import copy
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pictures
import pytest
import tiny_models

from lpn_mmpose.errors import InputError
from lpn_mmpose.runtime import PoseRuntime, topdown
from lpn_mmpose.runtime.engines import ENGINES, load_engine

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


@pytest.mark.parametrize('backend', list(ENGINES))
@pytest.mark.parametrize('threads', [1, 2])
@pytest.mark.parametrize('batch', ['N', 1, 2])
def test_persons_in_threads(pose_file, backend, threads, batch):
    """Persons who are given to the threads are found where those of a call are."""
    path = tiny_models.save_pose(pose_file.with_name('b.onnx'), batch=batch)
    pose = PoseRuntime(path, backend, threads)
    image, _ = tiny_models.scene(BOXES)
    expected = PoseRuntime(pose_file)(image, BOXES)
    images = [pose.submit(image, BOXES) for _ in range(4)]
    for jobs in images:
        assert len(jobs) == (2 if batch == 2 else 3)
        found = map(np.concatenate, zip(*(job.result() for job in jobs)))
        for actual, wanted in zip(found, expected, strict=True):
            np.testing.assert_allclose(actual, wanted, atol=1e-4)
    assert pose.submit(image, np.zeros((0, 4))) == []
    for bad, boxes, text in [
        (image, [(9, 9, 9, 9)], 'x1 < x2'),
        (image, [(1, 2, 3, 4, 5)], r'shape \(N, 4\)'),
        (None, BOXES, 'image'),
    ]:
        with pytest.raises(ValueError, match=text):
            pose.submit(bad, boxes)


def test_a_model_that_is_gone(pose_file):
    """The threads' model is loaded when it is needed."""
    path = tiny_models.save_pose(pose_file.with_name('gone.onnx'))
    pose = PoseRuntime(path, threads=2)
    path.unlink()
    image, _ = tiny_models.scene(BOXES)
    with pytest.raises(InputError, match='gone.onnx cannot be run'):
        pose.submit(image, BOXES)
    with pytest.raises(InputError, match='gone.onnx cannot be run'):
        pose(image, BOXES)


@pytest.mark.parametrize(
    'batch, threads, least', [('N', 1, 1), ('N', 4, 3), (1, 2, 2), (2, 2, None)]
)
def test_persons_who_keep_all_threads_busy(pose_file, batch, threads, least):
    path = tiny_models.save_pose(pose_file.with_name('b.onnx'), batch=batch)
    pose = PoseRuntime(path, threads=threads)
    counts = [count for count in range(9) if pose.side_by_side(count)]
    assert counts == ([] if least is None else list(range(least, 9)))


@pytest.mark.parametrize('backend', list(ENGINES))
def test_copies(pose_file, backend, tmp_path, monkeypatch):
    monkeypatch.chdir(pose_file.parent)
    pose = PoseRuntime(pose_file.name, backend)
    image, _ = tiny_models.scene(BOXES)
    expected = pose(image, BOXES)
    monkeypatch.chdir(tmp_path)
    for other in (copy.copy(pose), copy.deepcopy(pose), pickle.loads(pickle.dumps(pose))):
        for actual, wanted in zip(other(image, BOXES), expected):
            np.testing.assert_allclose(actual, wanted, atol=1e-4)


#: Uses a runtime, then again in processes that are forked or spawned.
PROCESSES = """
import multiprocessing, sys
import numpy as np
import tiny_models
from lpn_mmpose.runtime import PoseRuntime

_, path, backend, method = sys.argv
pose = PoseRuntime(path, backend, threads=2)
boxes = [(30, 40, 126, 136)] * 5
image, _ = tiny_models.scene(boxes[:1])
expected, _ = pose(image, boxes)
context = multiprocessing.get_context(method)
if method == 'fork':  # a pool would pickle the runtime

    def send(end):
        one = pose.submit(image, boxes)[0].result()[0]
        end.send(np.concatenate([one, pose(image, boxes)[0][1:]]))

    pairs = [context.Pipe() for _ in range(2)]
    processes = [context.Process(target=send, args=(end,)) for _, end in pairs]
    for process in processes:
        process.start()
    found = [start.recv() if start.poll(60) else None for start, _ in pairs]
    for process in processes:
        process.join(60)
        assert process.exitcode == 0, process.exitcode
else:
    with context.Pool(2) as pool:
        found = [result[0] for result in pool.starmap(pose, [(image, boxes)] * 3)]
for keypoints in found:
    np.testing.assert_allclose(keypoints, expected, atol=1e-3)
np.testing.assert_allclose(pose(image, boxes)[0], expected, atol=1e-3)
print('alike')
"""


@pytest.mark.parametrize('backend', list(ENGINES))
@pytest.mark.parametrize('method', ['fork', 'spawn'])
def test_other_processes(pose_file, backend, method):
    """A used runtime goes on in a forked process, and can be sent to a spawned one."""
    run = subprocess.run(
        [sys.executable, '-c', PROCESSES, pose_file, backend, method],
        capture_output=True,
        text=True,
        timeout=200,
        env=dict(os.environ, PYTHONPATH=os.pathsep.join(map(str, Path(__file__).parents[1:3]))),
    )
    assert run.stdout == 'alike\n', run.stderr


@pytest.mark.parametrize('backend', list(ENGINES))
@pytest.mark.parametrize('threads', [1, 2])
def test_threads(pose_file, backend, threads):
    """A web service's threads share a runtime and get their own answers."""
    pose = PoseRuntime(pose_file, backend, threads)
    scenes = [tiny_models.scene([(20 * i, 40, 20 * i + 96, 136)]) for i in range(8)]
    boxes = [[(20 * i, 40, 20 * i + 96, 136)] * (1 + i % 3) for i in range(8)]

    def estimate(i):
        return pose(scenes[i % 8][0], boxes[i % 8])[0]

    with ThreadPoolExecutor(8) as pool:
        for i, keypoints in enumerate(pool.map(estimate, range(80))):
            assert len(keypoints) == 1 + i % 8 % 3
            np.testing.assert_allclose(
                keypoints, np.repeat(scenes[i % 8][1], len(keypoints), 0), atol=2.5
            )


@pytest.mark.parametrize('backend', list(ENGINES))
def test_an_error_is_raised_and_the_next_call_is_right(pose_file, backend):
    engine = load_engine(pose_file, 'pose', backend, threads=2)
    images = np.random.default_rng(0).integers(0, 256, (4, 128, 96, 3), np.uint8)
    (expected,) = engine(images)
    with pytest.raises(Exception, match='(?i)shape|dimension'):
        engine(images[:, :100])
    np.testing.assert_allclose(engine(images)[0], expected, atol=1e-5)


@pytest.mark.parametrize('backend', list(ENGINES))
def test_no_persons(pose_file, backend):
    engine = load_engine(pose_file, 'pose', backend)
    (heatmaps,) = engine(np.zeros((0, 128, 96, 3), np.uint8))
    assert heatmaps.shape == (0, 6, 32, 24) and heatmaps.dtype == np.float32
    image, _ = tiny_models.scene(BOXES)
    results = PoseRuntime(pose_file, backend)([image] * 2, [[], np.zeros((0, 4))])
    for keypoints, scores in results:
        assert keypoints.shape == (0, 6, 2) and scores.shape == (0, 6)


def test_paths(pose_file, tmp_path):
    image, expected = tiny_models.scene([(10, 15, 70, 75)], (80, 90))
    path = pictures.photograph(tmp_path / 'photo.jpg', image, 6)
    pose = PoseRuntime(pose_file)
    for given in (path, str(path)):
        keypoints, _ = pose(given)
        np.testing.assert_allclose(keypoints, expected, atol=3)
    (first, _), (second, _) = pose([str(path), image])
    np.testing.assert_array_equal(first, keypoints)
    np.testing.assert_array_equal(second, pose(image)[0])
    with pytest.raises(ValueError, match='none.jpg does not exist'):
        pose('none.jpg')
    cv2.imwrite(str(tmp_path / 'deep.png'), image.astype(np.uint16) * 257)
    np.testing.assert_array_equal(pose(tmp_path / 'deep.png')[0], pose(image)[0])
