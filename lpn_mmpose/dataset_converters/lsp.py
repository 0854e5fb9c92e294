"""Leeds Sports Pose to COCO-style annotations."""

from pathlib import Path

import numpy as np

from .lspet import LeedsSummary, convert_split, load_joints


def convert_lsp(
    src: str,
    dst: str,
    split: str = 'train',
    first: int = 1,
    last: int | None = None,
    min_joints: int = 4,
    margin: float = 0.1,
) -> LeedsSummary:
    """Write one COCO-style JSON, keypoints in CrowdPose's order.

    Leeds Sports Pose has the joints of its extended set, with two
    differences: ``joints[3, 14, N]`` has the first two axes swapped, and its
    third row says which joints are *occluded*. Every joint is labelled:
    occluded ones get COCO's visibility 1, the others 2. The published
    training half is photographs 1 to 1000, the test half the rest.

    Dataset: http://sam.johnson.io/research/lsp.html.

    Args:
        src (str): Folder with ``joints.mat`` and ``images/im0001.jpg`` ...
        dst (str): Folder to write ``lsp_<split>.json`` to; made if missing.
        split (str): Name of what is written. Default: ``'train'``.
        first (int): Number of the first photograph. Default: 1.
        last (int, optional): Number of the last one. Default: that of the
            last joints.
        min_joints (int): Images with fewer joints inside are left out.
            Default: 4.
        margin (float): See :func:`keypoints_bbox`. Default: 0.1.

    Returns:
        LeedsSummary: The counts.

    Raises:
        FileNotFoundError: If ``joints.mat``, ``images/`` or all of the images
            are missing.
        ValueError: If ``joints.mat`` or the range is not as described.
    """
    src = Path(src)
    joints = load_joints(src, (1, 0, 2))
    number = joints.shape[2]
    last = number if last is None else last
    if not 1 <= first <= last <= number:
        raise ValueError(
            f'first and last must be photographs from 1 to {number}, got {first} and {last}'
        )
    joints = np.stack([joints[:, 0], joints[:, 1], 2 - (joints[:, 2] > 0)], axis=1)
    names = [f'im{i:04d}.jpg' for i in range(first, last + 1)]
    return convert_split(src, joints, split, names, dst, 'lsp', min_joints, margin)
