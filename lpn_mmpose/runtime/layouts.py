"""The keypoints of a model in the order of another data set."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ..errors import InputError
from .model_meta import PoseMeta

_LIMBS = (
    'left_shoulder',
    'right_shoulder',
    'left_elbow',
    'right_elbow',
    'left_wrist',
    'right_wrist',
    'left_hip',
    'right_hip',
    'left_knee',
    'right_knee',
    'left_ankle',
    'right_ankle',
)
#: Names and order of the keypoints, as in MMPose's metainfo.
LAYOUTS = {
    'coco': ('nose', 'left_eye', 'right_eye', 'left_ear', 'right_ear', *_LIMBS),
    'crowdpose': (*_LIMBS, 'top_head', 'neck'),
    'mpii': (
        'right_ankle',
        'right_knee',
        'right_hip',
        'left_hip',
        'left_knee',
        'left_ankle',
        'pelvis',
        'thorax',
        'upper_neck',
        'head_top',
        'right_wrist',
        'right_elbow',
        'right_shoulder',
        'left_shoulder',
        'left_elbow',
        'left_wrist',
    ),
}
#: Names that data sets give to one joint.
SAME = ({'head', 'top_head', 'head_top'}, {'neck', 'upper_neck'})
#: Joints that lie between two others.
BETWEEN = {
    'pelvis': ('left_hip', 'right_hip'),
    'thorax': ('left_shoulder', 'right_shoulder'),
}


class Layout(NamedTuple):
    """How a model's K keypoints become the M of a layout.

    Args:
        first (tuple[int]): For each of the M its keypoint, or one of the two
            that it lies between.
        second (tuple[int]): The same keypoint, or the other one.
    """

    first: tuple[int, ...]
    second: tuple[int, ...]

    def __call__(self, keypoints: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Convert keypoints (N, K, 2) and scores (N, K) to M keypoints.

        A joint between two others has the lower of their scores.
        """
        a, b = list(self.first), list(self.second)
        return (keypoints[:, a] + keypoints[:, b]) / 2, np.minimum(scores[:, a], scores[:, b])


def to_layout(meta: PoseMeta, name: str) -> tuple[Layout, PoseMeta]:
    """Find how a model's keypoints become those of a layout.

    Args:
        meta (PoseMeta): What the model says about itself.
        name (str): One of ``LAYOUTS``.

    Returns:
        tuple:
        - layout (Layout): Converts what the model finds.
        - meta (PoseMeta): The model's with the layout's keypoints.

    Raises:
        InputError: If there is no such layout, or the model lacks some of its
            joints.
    """
    if name not in LAYOUTS:
        raise InputError(f'layout must be one of {", ".join(LAYOUTS)}, got {name}')
    index = {joint: k for k, joint in enumerate(meta.keypoint_names)}
    for names in SAME:
        for joint in names & index.keys():
            index.update(dict.fromkeys(names - index.keys(), index[joint]))
    pairs = [
        (joint, joint) if joint in index else BETWEEN.get(joint, (joint, joint))
        for joint in LAYOUTS[name]
    ]
    missing = dict.fromkeys(j for pair in pairs for j in pair if j not in index)
    if missing:
        raise InputError(
            f'layout {name} has joints that the model {meta.name} lacks: {", ".join(missing)}'
        )
    layout = Layout(*zip(*((index[a], index[b]) for a, b in pairs)))
    # where the model's own keypoints have gone
    place = {a: m for m, (a, b) in enumerate(zip(*layout)) if a == b}
    links = [i for i, ends in enumerate(meta.skeleton) if all(k in place for k in ends)]
    return layout, replace(
        meta,
        keypoint_names=LAYOUTS[name],
        flip_indices=tuple(
            place.get(meta.flip_indices[a], m) if a == b else m
            for m, (a, b) in enumerate(zip(*layout))
        ),
        sigmas=tuple(meta.sigmas[a] for a in layout.first) if meta.sigmas else (),
        skeleton=tuple((place[a], place[b]) for a, b in (meta.skeleton[i] for i in links)),
        keypoint_colors=tuple(meta.keypoint_colors[a] for a in layout.first)
        if meta.keypoint_colors
        else (),
        skeleton_colors=tuple(meta.skeleton_colors[i] for i in links)
        if meta.skeleton_colors
        else (),
    )
