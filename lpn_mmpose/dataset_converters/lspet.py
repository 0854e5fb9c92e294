"""Leeds Sports Pose Extended to COCO-style annotations."""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from ..runtime import topdown

#: Joints in the order of ``joints.mat``.
LSPET_KEYPOINTS = (
    'right_ankle',
    'right_knee',
    'right_hip',
    'left_hip',
    'left_knee',
    'left_ankle',
    'right_wrist',
    'right_elbow',
    'right_shoulder',
    'left_shoulder',
    'left_elbow',
    'left_wrist',
    'neck',
    'top_head',
)
#: The same fourteen joints in CrowdPose's order.
CROWDPOSE_KEYPOINTS = (
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
    'top_head',
    'neck',
)
_TO_CROWDPOSE = [LSPET_KEYPOINTS.index(name) for name in CROWDPOSE_KEYPOINTS]
_IMAGE_NAME = re.compile(r'im(\d+)\.jpg')


@dataclass
class LeedsSummary:
    """What one split's conversion kept and what it left out."""

    split: str
    images: int = 0
    keypoints: int = 0
    joints_unlabelled: int = 0
    joints_outside: int = 0
    images_missing: list[str] = field(default_factory=list)
    images_too_few_joints: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """Give one line for each count."""
        counts = {
            name: len(value) if isinstance(value, list) else value
            for name, value in asdict(self).items()
            if name != 'split'
        }
        lines = [f'{self.split}:']
        lines += [f'  {name.replace("_", " "):24}{value:8d}' for name, value in counts.items()]
        return '\n'.join(lines)


def keypoints_bbox(
    keypoints: np.ndarray, image_size: tuple[int, int], margin: float
) -> list[float]:
    """Return the box around the labelled keypoints.

    Args:
        keypoints (np.ndarray): Labelled keypoints (M, 2) in pixels.
        image_size (tuple[int, int]): Image width and height in pixels, to
            which the box is clipped.
        margin (float): See :func:`lpn_mmpose.runtime.topdown.keypoints_to_box`.

    Returns:
        list[float]: Box as xywh in pixels.
    """
    x1, y1, x2, y2 = topdown.keypoints_to_box(keypoints, image_size, margin)
    return [round(float(v), 2) for v in (x1, y1, x2 - x1, y2 - y1)]


def load_joints(src: Path, axes: tuple[int, int, int] = (0, 1, 2)) -> np.ndarray:
    """Read ``joints.mat`` of a Leeds data set.

    Args:
        src (Path): Folder with ``joints.mat``.
        axes (tuple[int, int, int]): Which axes of the file are the joints,
            their three values and the photographs.

    Returns:
        np.ndarray: Shape (14, 3, N): x, y in pixels and the third value.

    Raises:
        FileNotFoundError: If the file is missing.
        ValueError: If it has no such array.
    """
    from scipy.io import loadmat

    path = src / 'joints.mat'
    if not path.is_file():
        raise FileNotFoundError(
            f'{path} not found: SRC must hold joints.mat and images/ as the archive has them'
        )
    joints = loadmat(path).get('joints')
    if joints is not None and joints.ndim == 3:
        joints = joints.transpose(axes)
    if joints is None or joints.shape[:2] != (14, 3):
        shape = ['14', '3', 'N']
        shape = ', '.join(shape[axes.index(i)] for i in range(3))
        raise ValueError(f'{path} has no array "joints" of shape ({shape})')
    return joints


def _load_splits(src: Path, splits_file: Path | None, num_images: int) -> dict[str, Sequence[str]]:
    if splits_file is None:
        return {'train': sorted(p.name for p in (src / 'images').glob('*'))}
    try:
        splits = json.loads(Path(splits_file).read_text())
    except ValueError as error:
        raise ValueError(f'{splits_file} is not JSON: {error}') from error
    if not isinstance(splits, dict) or not splits:
        raise ValueError(
            f'{splits_file} must map split names to lists of '
            'image names: {"train": ["im00001.jpg"]}'
        )
    for split, names in splits.items():
        for name in names:
            match = _IMAGE_NAME.fullmatch(name)
            if not match or not 1 <= int(match[1]) <= num_images:
                raise ValueError(
                    f'{splits_file}: {name!r} in split {split!r} is not an '
                    f'image of the dataset (im00001.jpg to '
                    f'im{num_images:05d}.jpg)'
                )
    return splits


def convert_split(
    src: Path,
    joints: np.ndarray,
    split: str,
    names: Sequence[str],
    dst: str,
    prefix: str,
    min_joints: int,
    margin: float,
) -> LeedsSummary:
    """Write the COCO-style JSON of one split of a Leeds data set.

    Labelled joints outside the image get visibility 0.

    Args:
        src (Path): Folder with ``images/``.
        joints (np.ndarray): Joints in the order of ``LSPET_KEYPOINTS`` in
            shape (14, 3, N): x, y in pixels and COCO's visibility. Photograph
            ``im<i>.jpg`` is at i - 1.
        split (str): The split's name.
        names (Sequence[str]): Names of its images.
        dst (str): Folder to write ``<prefix>_<split>.json`` to; made if
            missing.
        prefix (str): See ``dst``.
        min_joints (int): Images with fewer labelled joints are left out.
        margin (float): See :func:`keypoints_bbox`.

    Returns:
        LeedsSummary: The counts.

    Raises:
        FileNotFoundError: If ``images/`` or all of the images are missing.
    """
    from PIL import Image
    from tqdm import tqdm

    dst = Path(dst)
    if not (src / 'images').is_dir():
        raise FileNotFoundError(f'{src / "images"} not found')
    summary = LeedsSummary(split)
    images, annotations = [], []
    for name in tqdm(names, desc=split, unit='img'):
        path = src / 'images' / name
        match = _IMAGE_NAME.fullmatch(name)
        if not match or not path.is_file():
            summary.images_missing.append(name)
            continue
        image_id = int(match[1])
        with Image.open(path) as image:
            width, height = image.size
        person = joints[_TO_CROWDPOSE, :, image_id - 1]
        labelled = person[:, 2] > 0
        inside = ((person[:, :2] >= 0) & (person[:, :2] < (width, height))).all(1)
        summary.joints_unlabelled += int((~labelled).sum())
        summary.joints_outside += int((labelled & ~inside).sum())
        labelled &= inside
        if labelled.sum() < max(min_joints, 1):
            summary.images_too_few_joints.append(name)
            continue
        keypoints = np.where(labelled[:, None], person.round(2), 0.0)
        bbox = keypoints_bbox(person[labelled, :2], (width, height), margin)
        images.append(dict(id=image_id, file_name=name, width=width, height=height))
        annotations.append(
            dict(
                id=image_id,
                image_id=image_id,
                category_id=1,
                iscrowd=0,
                num_keypoints=int(labelled.sum()),
                keypoints=keypoints.ravel().tolist(),
                bbox=bbox,
                area=round(bbox[2] * bbox[3], 2),
            )
        )
        summary.keypoints += int(labelled.sum())
    if not images:
        raise FileNotFoundError(
            f'none of the {len(names)} images of split {split!r} can be used from {src / "images"}'
        )
    summary.images = len(images)
    category = dict(id=1, name='person', keypoints=list(CROWDPOSE_KEYPOINTS))
    dst.mkdir(parents=True, exist_ok=True)
    (dst / f'{prefix}_{split}.json').write_text(
        json.dumps(dict(images=images, annotations=annotations, categories=[category]))
    )
    return summary


def convert_lspet(
    src: str, dst: str, splits_file: str | None = None, min_joints: int = 4, margin: float = 0.1
) -> list[LeedsSummary]:
    """Write one COCO-style JSON per split, keypoints in CrowdPose's order.

    Unlabelled joints, and labelled ones outside the image, get visibility 0
    (COCO's "not labelled"). Coordinates are kept as they are in
    ``joints.mat``, in pixels. The images are not copied: set
    ``data_prefix=dict(img='<SRC>/images/')``.

    Dataset: http://sam.johnson.io/research/lspet.html.

    Args:
        src (str): Folder with ``joints.mat`` and ``images/``.
        dst (str): Folder to write ``lspet_<split>.json`` to; made if missing.
        splits_file (str, optional): JSON ``{split: [image name]}``. Without
            it all images form one split, ``train``.
        min_joints (int): Images with fewer labelled joints are left out.
            Default: 4.
        margin (float): See :func:`keypoints_bbox`. Default: 0.1.

    Returns:
        list[LeedsSummary]: The counts of each split.

    Raises:
        FileNotFoundError: If ``joints.mat``, ``images/`` or the splits file
            is missing, or none of a split's images is there.
        ValueError: If ``joints.mat`` or the splits file is not as described.
    """
    src = Path(src)
    joints = load_joints(src)
    splits = _load_splits(src, splits_file, joints.shape[2])
    labelled = joints[:, 2] > 0
    joints = np.stack([joints[:, 0], joints[:, 1], 2 * labelled], axis=1)
    return [
        convert_split(src, joints, split, names, dst, 'lspet', min_joints, margin)
        for split, names in splits.items()
    ]
