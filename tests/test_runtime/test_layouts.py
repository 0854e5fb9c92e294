import numpy as np
import pytest
import tiny_models

from lpn_mmpose.runtime import PoseRuntime
from lpn_mmpose.runtime.layouts import LAYOUTS, to_layout
from lpn_mmpose.runtime.model_meta import PoseMeta

BODY19 = (*LAYOUTS['coco'], 'head', 'neck')


def make_meta(names, skeleton=()):
    mirror = {'left': 'right', 'right': 'left'}
    flip = [
        names.index('_'.join(mirror.get(word, word) for word in name.split('_'))) for name in names
    ]
    return PoseMeta(
        input_size=(96, 128),
        mean=(),
        std=(),
        dataset='',
        version='',
        name='some-model',
        keypoint_names=tuple(names),
        flip_indices=tuple(flip),
        sigmas=tuple(0.01 * k for k in range(len(names))),
        skeleton=tuple((names.index(a), names.index(b)) for a, b in skeleton),
        keypoint_colors=tuple((k, k, k) for k in range(len(names))),
        skeleton_colors=tuple((9, 9, k) for k in range(len(skeleton))),
    )


def found(count):
    """Keypoint k of the one person is at (10k, k), with a score of k / 100."""
    k = np.arange(count, dtype=np.float32)
    return np.stack([10 * k, k], -1)[None], k[None] / 100


def test_joints_by_name():
    layout, meta = to_layout(make_meta(BODY19), 'mpii')
    keypoints, scores = layout(*found(19))
    assert keypoints.shape == (1, 16, 2) and scores.shape == (1, 16)
    at = dict(zip(meta.keypoint_names, keypoints[0, :, 1].tolist()))
    for ours, theirs in (
        ('left_wrist', 'left_wrist'),
        ('head', 'head_top'),
        ('neck', 'upper_neck'),
    ):
        assert at[theirs] == BODY19.index(ours)
    # between the hips, 11 and 12, and the shoulders, 5 and 6
    assert (at['pelvis'], at['thorax']) == (11.5, 5.5)
    low = scores[0, meta.keypoint_names.index('pelvis')]
    assert low == pytest.approx(0.11)


@pytest.mark.parametrize('name', list(LAYOUTS))
def test_metadata_follow(name):
    links = [('left_hip', 'left_knee'), ('neck', 'left_shoulder'), ('nose', 'left_eye')]
    source = make_meta(BODY19, links)
    _, meta = to_layout(source, name)
    assert meta.keypoint_names == LAYOUTS[name]
    assert len(meta.sigmas) == len(meta.keypoint_colors) == len(meta.keypoint_names)
    assert (meta.input_size, meta.name) == (source.input_size, source.name)
    names = meta.keypoint_names
    for k, mirrored in enumerate(meta.flip_indices):
        assert meta.flip_indices[mirrored] == k
        swapped = names[k].replace('left', 'LEFT').replace('right', 'left').replace('LEFT', 'right')
        assert names[mirrored] == swapped
    drawn = [{names[a], names[b]} for a, b in meta.skeleton]
    neck = {'coco': None, 'crowdpose': 'neck', 'mpii': 'upper_neck'}[name]
    expected = [{'left_hip', 'left_knee'}]
    expected += [{neck, 'left_shoulder'}] if neck else []
    expected += [{'nose', 'left_eye'}] if name == 'coco' else []
    assert drawn == expected and len(meta.skeleton_colors) == len(drawn)


def test_a_models_own_layout_is_itself():
    layout, meta = to_layout(make_meta(LAYOUTS['crowdpose']), 'crowdpose')
    for actual, expected in zip(layout(*found(14)), found(14)):
        np.testing.assert_array_equal(actual, expected)
    assert meta == make_meta(LAYOUTS['crowdpose'])


def test_missing_joints_are_named():
    with pytest.raises(ValueError, match='coco.*some-model lacks: nose, left_eye'):
        to_layout(make_meta(LAYOUTS['crowdpose']), 'coco')
    with pytest.raises(ValueError, match='coco, crowdpose, mpii, got halpe'):
        to_layout(make_meta(BODY19), 'halpe')


def test_runtime_gives_the_layout(tmp_path, monkeypatch):
    """Through the whole runtime, with a layout of the tiny model's joints."""
    path = tiny_models.save_pose(tmp_path / 'pose.onnx')
    plain = PoseRuntime(path)
    names = plain.meta.keypoint_names
    # two of its joints, and one between them
    monkeypatch.setitem(LAYOUTS, 'tiny', (names[3], 'middle', names[1]))
    monkeypatch.setattr('lpn_mmpose.runtime.layouts.BETWEEN', {'middle': (names[3], names[1])})
    boxes = [(30, 40, 126, 136), (170, 60, 266, 156)]
    image, _ = tiny_models.scene(boxes)
    expected, expected_scores = plain(image, boxes)
    pose = PoseRuntime(path, layout='tiny')
    keypoints, scores = pose(image, boxes)
    assert pose.meta.keypoint_names == (names[3], 'middle', names[1])
    np.testing.assert_array_equal(keypoints[:, [0, 2]], expected[:, [3, 1]])
    middle = expected[:, [1, 3]].mean(1)
    np.testing.assert_allclose(keypoints[:, 1], middle, atol=1e-3)
    np.testing.assert_array_equal(scores[:, 1], expected_scores[:, [1, 3]].min(1))
