import numpy as np
import pytest

from lpn_mmpose.runtime.drawing import LEFT, MIDDLE, RIGHT, draw_poses, side_color

NAMES = ('neck', 'left_hip', 'right_hip')
SKELETON = ((0, 1), (0, 2), (1, 2))
POINTS = np.array([[[50, 10], [80, 80], [20, 80]]], float)


def draw(scores, points=POINTS, **kwargs):
    image = np.full((100, 120, 3), 128, np.uint8)
    picture = draw_poses(image, points, np.array([scores]), NAMES, SKELETON, **kwargs)
    assert (image == 128).all()
    return picture


def close(pixel, color):
    """Tell whether a pixel has a colour, but for antialiasing."""
    return np.abs(pixel.astype(int) - color).max() < 30


def test_sides_have_their_colors():
    picture = draw([1, 1, 1])
    for (x, y), color in zip(POINTS[0].astype(int), (MIDDLE, LEFT, RIGHT)):
        assert close(picture[y, x], color)
    assert close(picture[45, 65], LEFT)  # halfway from the neck
    assert close(picture[45, 35], RIGHT)
    assert close(picture[80, 50], MIDDLE)


@pytest.mark.parametrize(
    'names, color',
    [
        (('left_knee',), LEFT),
        (('right_knee', 'right_hip'), RIGHT),
        (('right_hip', 'left_hip'), MIDDLE),
        (('neck', 'left_shoulder'), LEFT),
        (('nose',), MIDDLE),
        (('neck', 'top_head'), MIDDLE),
    ],
)
def test_side_color(names, color):
    assert side_color(*names) == color


def test_low_scores_are_not_drawn():
    assert (draw([0.2, 0.2, 0.2]) == 128).all()
    picture = draw([1, 0.2, 1])
    assert (picture[:, 62:] == 128).all()
    assert (draw([0.2, 0.2, 0.2], score_thr=0.1) != 128).any()


def test_boxes_and_ids():
    boxes = np.array([[10, 30, 110, 90]], float)
    assert (draw([0, 0, 0], boxes=boxes)[60, 10] != 128).any()
    with_id = draw([1, 1, 1], boxes=boxes, ids=[7])
    assert (with_id != draw([1, 1, 1], boxes=boxes)).any()


def test_far_outside_and_nobody():
    points = POINTS.copy()
    points[0, 1] = (1e9, -1e9)
    points[0, 2] = (-40, 80)
    draw([1, 1, 1], points)
    assert (
        draw_poses(
            np.zeros((5, 5, 3), np.uint8), np.zeros((0, 3, 2)), np.zeros((0, 3)), NAMES, SKELETON
        )
        == 0
    ).all()


def test_in_place():
    image = np.full((100, 120, 3), 128, np.uint8)
    picture = draw_poses(image, POINTS, np.ones((1, 3)), NAMES, SKELETON, in_place=True)
    assert picture is image
    np.testing.assert_array_equal(picture, draw([1, 1, 1]))
