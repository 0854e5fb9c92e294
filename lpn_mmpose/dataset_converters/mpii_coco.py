"""MPII's annotations as MMPose has them to COCO-style ones."""

import json
from pathlib import Path

import numpy as np

from ..runtime.layouts import LAYOUTS
from .lspet import keypoints_bbox

#: Joints in MPII's order.
MPII_KEYPOINTS = LAYOUTS['mpii']


def mpii_to_coco(
    ann_file: str, images_dir: str, out_file: str, min_joints: int = 4, margin: float = 0.1
) -> dict[str, int]:
    """Write MPII's persons with boxes around their joints.

    MPII has no boxes and counts pixels from 1; the result has boxes as those
    of the Leeds sets and counts from 0. Joints outside the image get
    visibility 0.

    Args:
        ann_file (str): ``mpii_train.json`` of MMPose or ``mpii_to_mmpose.py``,
            or HRNet's ``train.json``.
        images_dir (str): Folder of the photographs.
        out_file (str): COCO-style JSON to write; its folder is made if
            missing.
        min_joints (int): Persons with fewer joints are left out. Default: 4.
        margin (float): See :func:`lpn_mmpose.dataset_converters.lspet.keypoints_bbox`.
            Default: 0.1.

    Returns:
        dict[str, int]: ``images``, ``persons`` and ``left_out``.

    Raises:
        OSError: If a file cannot be read or written.
        ValueError: If ``ann_file`` is not as described or no person is left.
    """
    from PIL import Image
    from tqdm import tqdm

    try:
        entries = json.loads(Path(ann_file).read_text())
        names = list(dict.fromkeys(entry['image'] for entry in entries))
        joints = np.reshape([entry['joints'] for entry in entries], (-1, 16, 2)) - 1
        visible = np.reshape([entry['joints_vis'] for entry in entries], (-1, 16)) > 0
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{ann_file} is not MPII's as MMPose has it: {error!r}") from error
    images = {}
    for image_id, name in enumerate(tqdm(names, desc='MPII', unit='img', disable=None), 1):
        with Image.open(Path(images_dir, name)) as image:
            width, height = image.size
        images[name] = dict(id=image_id, file_name=name, width=width, height=height)
    annotations = []
    for entry, points, labelled in zip(entries, joints, visible):
        image = images[entry['image']]
        size = image['width'], image['height']
        labelled = labelled & ((points >= 0) & (points < size)).all(1)
        if labelled.sum() < max(min_joints, 1):
            continue
        keypoints = np.where(labelled[:, None], np.insert(points, 2, 2, axis=1), 0.0)
        bbox = keypoints_bbox(points[labelled], size, margin)
        annotations.append(
            dict(
                id=len(annotations) + 1,
                image_id=image['id'],
                category_id=1,
                iscrowd=0,
                num_keypoints=int(labelled.sum()),
                keypoints=keypoints.round(2).ravel().tolist(),
                bbox=bbox,
                area=round(bbox[2] * bbox[3], 2),
            )
        )
    if not annotations:
        raise ValueError(f'{ann_file}: nobody has {min_joints} joints or more')
    kept = {ann['image_id'] for ann in annotations}
    content = dict(
        images=[image for image in images.values() if image['id'] in kept],
        annotations=annotations,
        categories=[dict(id=1, name='person', keypoints=list(MPII_KEYPOINTS))],
    )
    Path(out_file).parent.mkdir(parents=True, exist_ok=True)
    Path(out_file).write_text(json.dumps(content))
    return dict(
        images=len(content['images']),
        persons=len(annotations),
        left_out=len(entries) - len(annotations),
    )
