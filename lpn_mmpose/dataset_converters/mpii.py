"""MPII Human Pose's original annotations to those that the configs read."""

import json
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..errors import InputError

NUM_JOINTS = 16


def _person(rect) -> dict | None:
    """Read a person of ``annolist``, if its joints are annotated."""
    points = getattr(getattr(rect, 'annopoints', None), 'point', None)
    position = getattr(rect, 'objpos', None)
    if points is None or not hasattr(position, 'x'):
        return None
    joints = np.full((NUM_JOINTS, 2), -1.0)
    labelled = np.zeros(NUM_JOINTS, int)
    for point in np.atleast_1d(points):
        joints[int(point.id)] = point.x, point.y
        labelled[int(point.id)] = 1
    return dict(
        center=[float(position.x), float(position.y)],
        scale=float(rect.scale),
        joints=joints.tolist(),
        joints_vis=labelled.tolist(),
        head=[[float(rect.x1), float(rect.y1)], [float(rect.x2), float(rect.y2)]],
    )


def read_val_images(path: str) -> set[str]:
    """Read the names of the validation images.

    Args:
        path (str): A name on each line, or JSON: a list of names or of
            entries with ``image``, such as HRNet's ``valid.json``.

    Raises:
        InputError: If there is no such file or no name in it.
    """
    try:
        text = Path(path).read_text()
    except OSError as error:
        raise InputError(f'{path} cannot be read: {error}') from error
    try:
        entries = json.loads(text)
    except ValueError:
        entries = text.split()
    names = {e['image'] if isinstance(e, dict) else e for e in entries}
    if not names:
        raise InputError(f'{path} names no image')
    return names


def convert_mpii(mat_file: str, dst: str, val_images: set[str]) -> dict[str, int]:
    """Write ``mpii_train.json``, ``mpii_val.json`` and ``mpii_gt_val.mat``.

    Of the persons in training images all with joints, a position and a scale
    are taken; joints count pixels from 1, as annotated, and an occluded joint
    is a labelled one. The archive has no validation set: its images must be
    named. The validation set of the published results, and which of the
    persons were taken for it, is that of HRNet's and MMPose's annotation
    files, which need no conversion.

    Dataset: http://human-pose.mpi-inf.mpg.de.

    Args:
        mat_file (str): ``mpii_human_pose_v1_u12_1.mat``.
        dst (str): Folder for the three files.
        val_images (set[str]): Names of the validation images.

    Returns:
        dict[str, int]: The number of persons in ``'train'`` and ``'val'``.

    Raises:
        InputError: If the file is not MPII's, or a validation image is not in
            it.
    """
    from scipy.io import loadmat, savemat

    try:
        release = loadmat(mat_file, struct_as_record=False, squeeze_me=True)['RELEASE']
        images = zip(release.annolist, np.atleast_1d(release.img_train))
        images = [
            (image.image.name, np.atleast_1d(image.annorect))
            for image, is_train in images
            if is_train
        ]
    except (AttributeError, KeyError, OSError, ValueError) as error:
        raise InputError(f"{mat_file} is not MPII's: {error}") from error
    unknown = val_images - {name for name, _ in images}
    if unknown:
        raise InputError(
            f'{len(unknown)} validation images are not in {mat_file}, e.g. {min(unknown)}'
        )

    splits: dict[str, list[dict]] = dict(train=[], val=[])
    heads = []
    for name, rects in tqdm(images, desc='MPII', unit='img'):
        for person in filter(None, map(_person, rects)):
            head = person.pop('head')
            split = 'val' if name in val_images else 'train'
            splits[split].append(dict(person, image=name))
            if split == 'val':
                heads.append(head)

    dst = Path(dst)
    dst.mkdir(parents=True, exist_ok=True)
    for split, persons in splits.items():
        (dst / f'mpii_{split}.json').write_text(json.dumps(persons))
    # corner, x or y, person
    savemat(dst / 'mpii_gt_val.mat', dict(headboxes_src=np.transpose(heads, (1, 2, 0))))
    return {split: len(persons) for split, persons in splits.items()}
