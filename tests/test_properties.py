"""What holds for every heatmap, box and crop, tried on many of them."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lpn_mmpose.codecs import BetaSoftArgmaxHeatmap
from lpn_mmpose.runtime import topdown

settings.register_profile('repeatable', derandomize=True, deadline=None, database=None)
settings.load_profile('repeatable')

WIDTH, HEIGHT = 24, 32
INPUT = (96, 128)
#: Any finite heatmaps, and those of the size of trained ones.
finite = hnp.arrays(
    np.float32,
    (2, HEIGHT, WIDTH),
    elements=st.floats(-(2.0**126), 2.0**126, width=32),
    fill=st.just(0.0),
)
heatmaps = hnp.arrays(
    np.float32, (2, HEIGHT, WIDTH), elements=st.floats(-1, 1, width=16), fill=st.just(0.0)
)
betas = st.floats(0.1, 1000)
sides = st.floats(1, 2000)
places = st.floats(-2000, 2000)


@st.composite
def boxes(draw):
    """Boxes xyxy with sides of at least a pixel."""
    x, y, w, h = draw(places), draw(places), draw(sides), draw(sides)
    return np.array([x, y, x + w, y + h])


@given(finite, betas)
def test_finite_heatmaps_give_finite_keypoints_inside(maps, beta):
    for coords, scores in (topdown.soft_argmax(maps, beta), topdown.argmax(maps)):
        shifted = topdown.quarter_offset(coords, maps)
        assert np.isfinite(shifted).all() and np.isfinite(scores).all()
        assert (coords >= 0).all() and (coords <= (WIDTH - 1, HEIGHT - 1)).all()
        assert (np.abs(shifted - coords) <= 0.25).all()
        assert (scores <= maps.max((1, 2))).all()


@given(heatmaps, betas)
def test_soft_argmax_is_equivariant_under_flip(maps, beta):
    coords, _ = topdown.soft_argmax(maps, beta)
    mirrored, _ = topdown.soft_argmax(maps[..., ::-1], beta)
    np.testing.assert_allclose(mirrored[:, 0], WIDTH - 1 - coords[:, 0], atol=1e-3)
    np.testing.assert_allclose(mirrored[:, 1], coords[:, 1], atol=1e-3)


@given(
    hnp.arrays(np.float32, (1, 7, 7), elements=st.floats(0, 1, width=16)),
    st.integers(3, 14),
    st.integers(3, 22),
    st.floats(20, 1000),
)
def test_decoding_is_equivariant_under_shift(patch, x, y, beta):
    patch[0, 3, 3] = 1.5  # away from what is around it

    def decode(left, top):
        maps = np.full((1, HEIGHT, WIDTH), -10, np.float32)
        maps[:, top : top + 7, left : left + 7] = patch
        coords, scores = topdown.soft_argmax(maps, beta)
        return topdown.quarter_offset(coords, maps), scores

    (first, score), (moved, same) = decode(3, 3), decode(x, y)
    np.testing.assert_allclose(moved - first, [[x - 3, y - 3]], atol=1e-3)
    np.testing.assert_allclose(score, same)


@given(heatmaps, betas, st.floats(-10, 10), st.sampled_from([0.25, 0.5, 2, 4]))
def test_soft_argmax_knows_differences_alone(maps, beta, offset, factor):
    coords, _ = topdown.soft_argmax(maps, beta)
    shifted, _ = topdown.soft_argmax(maps.astype(np.float64) + offset, beta)
    # an offset takes bits from the values: beta times their rounding
    np.testing.assert_allclose(shifted, coords, atol=1e-3 + 1e-4 * beta)
    scaled, _ = topdown.soft_argmax(maps * np.float32(factor), beta / factor)
    np.testing.assert_allclose(scaled, coords, atol=1e-3)


@given(
    hnp.arrays(np.float32, WIDTH, elements=st.floats(-1, 1, width=16)),
    st.lists(betas, min_size=2, max_size=5),
)
def test_soft_argmax_is_monotone_in_beta(profile, values):
    """Where the heatmap grows with x, so does x with beta: Cov(x, h) >= 0."""
    maps = np.broadcast_to(np.sort(profile), (1, HEIGHT, WIDTH))
    x = [topdown.soft_argmax(maps, beta)[0][0, 0] for beta in sorted(values)]
    assert (np.diff(x) >= -1e-3).all()


@given(
    hnp.arrays(np.float64, (1, 3, 2), elements=st.floats(0, 1)),
    st.sampled_from([None, 20.0, 160.0]),
    st.booleans(),
    st.floats(1, 3),
)
def test_codec_round_trip(places, beta, quarter_offset, sigma):
    """What is encoded comes back within half a heatmap pixel, of 4 input pixels."""
    codec = BetaSoftArgmaxHeatmap(INPUT, (WIDTH, HEIGHT), sigma, beta, quarter_offset)
    keypoints = places * (INPUT[0] - 4, INPUT[1] - 4)
    encoded = codec.encode(keypoints)
    decoded, scores = codec.decode(encoded['heatmaps'])
    # a low beta averages over the Gaussian, of which a border cuts a part off
    middle = ((keypoints > 24) & (keypoints < np.subtract(INPUT, 24))).all(-1)
    sharp = beta != 20.0
    error = np.abs(decoded - keypoints).max(-1)
    assert (error[middle | sharp] <= 2 + 0.05).all()
    assert np.isfinite(decoded).all() and (scores <= 1 + 1e-6).all()


@given(boxes(), places, places, st.sampled_from([0.5, 2, 4]))
def test_boxes_to_center_scale(box, dx, dy, factor):
    center, scale = topdown.boxes_to_center_scale(box, INPUT, padding=1.25)
    size = (box[2:] - box[:2]).astype(np.float32)
    assert scale[0] / scale[1] == pytest.approx(INPUT[0] / INPUT[1], rel=1e-5)
    assert (scale * (1 + 1e-3) >= 1.25 * size).all(), 'the box is inside of its crop'
    assert (scale / size).min() == pytest.approx(1.25, rel=1e-2), 'and fills it one way'
    tolerance = dict(rtol=1e-4, atol=1e-2)
    moved = topdown.boxes_to_center_scale(box + [dx, dy, dx, dy], INPUT)
    np.testing.assert_allclose(moved[0], center + (dx, dy), **tolerance)
    np.testing.assert_allclose(moved[1], scale, rtol=1e-3, atol=1e-2)
    larger = topdown.boxes_to_center_scale(box * factor, INPUT)
    np.testing.assert_allclose(larger[0], center * factor, **tolerance)
    np.testing.assert_allclose(larger[1], scale * factor, rtol=1e-3, atol=1e-2)


@given(boxes(), hnp.arrays(np.float64, (5, 2), elements=st.floats(0, 128)))
def test_into_the_crop_and_back(box, points):
    center, scale = topdown.boxes_to_center_scale(box, INPUT)
    in_image = topdown.to_image(points[None], center[None], scale[None], INPUT)[0]
    matrix = topdown.crop_matrix(center, scale, INPUT)
    back = in_image @ matrix[:, :2].T + matrix[:, 2]
    # float32 has 7 digits of up to 4000 px, which small boxes magnify
    assert np.abs(back - points).max() <= 1e-2 + 0.002 * INPUT[0] / scale[0]


@given(st.floats(20, 180), st.floats(20, 120), st.floats(30, 150), st.floats(30, 150))
@settings(max_examples=40)
def test_crops_are_equivariant_under_flip(x, y, w, h):
    """Crop pixel u of an image is w - u of the mirrored one: centers are at w / 2."""
    rows, columns = np.mgrid[:150, :200]
    image = (60 * np.sin(columns / 17) + 60 * np.cos(rows / 13) + 128).astype(np.float32)
    center, scale = topdown.boxes_to_center_scale(np.array([[x, y, x + w, y + h]]), INPUT)
    crop = topdown.crop(image, center, scale, INPUT)[0]
    mirrored = topdown.crop(
        np.ascontiguousarray(image[:, ::-1]), center * (-1, 1) + (199, 0), scale, INPUT
    )[0]
    inside = topdown.crop(np.ones_like(image), center, scale, INPUT)[0] == 1
    inside = cv2.erode(inside.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    difference = np.abs(mirrored[:, 1:][:, ::-1] - crop[:, 1:])
    assert difference[inside[:, 1:]].max(initial=0) < 1


@given(hnp.arrays(np.float64, (4, 2), elements=st.floats(0, 99)), st.floats(0, 2), st.floats(0, 2))
def test_boxes_of_keypoints(keypoints, one, other):
    small, large = (
        topdown.keypoints_to_box(keypoints, (100, 100), margin) for margin in sorted((one, other))
    )
    assert (large[:2] <= small[:2]).all() and (large[2:] >= small[2:]).all()
    assert (small[:2] <= keypoints).all() and (small[2:] >= keypoints).all()
    assert (large >= 0).all() and (large <= 99).all()
