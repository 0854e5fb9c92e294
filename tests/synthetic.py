"""Tiny datasets made by formula, in the layouts that the configs expect."""

import json
from pathlib import Path

import cv2
import numpy as np
from scipy.io import savemat

#: Width and height of the images.
SIZE = (120, 160)


def make_image(path: Path, keypoints: np.ndarray, index: int) -> None:
    """Write a gradient with a disc at each keypoint (K, 2)."""
    width, height = SIZE
    y, x = np.mgrid[:height, :width]
    image = np.stack([x, y, x + y + 20 * index], -1) % 256
    image = np.ascontiguousarray(image.astype(np.uint8))
    for j, (u, v) in enumerate(keypoints):
        color = ((37 * j) % 256, (91 * j + 60) % 256, (53 * j + 120) % 256)
        cv2.circle(image, (round(u), round(v)), 4, color, -1)
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


def make_keypoints(count: int, index: int) -> np.ndarray:
    """Return (count, 2) keypoints inside the image, others by ``index``."""
    j = np.arange(count)
    width, height = SIZE
    return np.stack(
        [width * (0.5 + 0.25 * np.cos(2.4 * j + index)), height * (0.15 + 0.7 * j / count)], -1
    ).round(1)


def write_json(path: Path, content) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def make_coco_style(ann_file: Path, img_dir: Path, count: int, num_keypoints: int) -> dict:
    """Write ``count`` images of one person and their COCO annotations."""
    images, annotations = [], []
    for i in range(1, count + 1):
        keypoints = make_keypoints(num_keypoints, i)
        name = f'{i:012d}.jpg'
        make_image(img_dir / name, keypoints, i)
        flags = np.full((num_keypoints, 1), 2.0)
        flags[i % num_keypoints] = 0
        triples = np.hstack([keypoints, flags]) * (flags > 0)
        x, y = keypoints.min(0) - 5
        w, h = np.ptp(keypoints, axis=0) + 10
        images.append(dict(id=i, file_name=name, width=SIZE[0], height=SIZE[1]))
        annotations.append(
            dict(
                id=i,
                image_id=i,
                category_id=1,
                bbox=[float(v) for v in (x, y, w, h)],
                area=float(w * h / 2),
                iscrowd=0,
                num_keypoints=num_keypoints - 1,
                keypoints=triples.ravel().tolist(),
            )
        )
    content = dict(images=images, annotations=annotations, categories=[dict(id=1, name='person')])
    write_json(ann_file, content)
    return content


def make_coco(root: Path, count: int = 4) -> None:
    """COCO's layout, with detections of every second person's box."""
    for split in ('train2017', 'val2017'):
        content = make_coco_style(
            root / f'annotations/person_keypoints_{split}.json', root / split, count, 17
        )
    detections = [
        dict(image_id=a['image_id'], category_id=1, bbox=a['bbox'], score=1 - 0.1 * a['id'])
        for a in content['annotations'][::2]
    ]
    write_json(
        root / 'person_detection_results/COCO_val2017_detections_AP_H_56_person.json', detections
    )


def make_mpii(root: Path, count: int = 4) -> None:
    """MPII's layout, with head boxes of 30 x 40 px in the .mat file."""
    for split in ('train', 'val'):
        people: list[dict] = []
        for i in range(1, count + 1):
            keypoints = make_keypoints(16, i)
            name = f'{i:09d}.jpg'
            make_image(root / 'images' / name, keypoints, i)
            people.append(
                dict(
                    image=name,
                    center=[SIZE[0] / 2, SIZE[1] / 2],
                    scale=0.7,
                    joints=(keypoints + 1).tolist(),
                    joints_vis=[1] * 16,
                )
            )
        write_json(root / f'annotations/mpii_{split}.json', people)
    boxes = np.zeros((2, 2, count))
    boxes[1] = [[30], [40]]
    savemat(root / 'annotations/mpii_gt_val.mat', dict(headboxes_src=boxes))


def make_lspet(root: Path, count: int = 4) -> None:
    """Leeds Sports Pose Extended after ``lspet_to_coco.py``."""
    for split in ('train', 'val'):
        make_coco_style(root / f'annotations/lspet_{split}.json', root / 'images', count, 14)


def make_body19(root: Path) -> None:
    """LSP, MPII and COCO as COCO-style JSON, for the joint training."""
    for split in ('train', 'val'):
        make_coco_style(root / f'lsp/annotations/lsp_{split}.json', root / 'lsp/images', 4, 14)
        make_coco_style(
            root / f'mpii/annotations/mpii_coco_{split}.json', root / 'mpii/images', 4, 16
        )
        make_coco_style(
            root / f'coco/annotations/coco_{split}.json', root / 'coco/train2017', 4, 17
        )


def make_all(folder: Path) -> Path:
    """Make every dataset under ``folder/data`` and return ``folder``."""
    make_coco(folder / 'data/coco')
    make_mpii(folder / 'data/mpii')
    make_lspet(folder / 'data/lspet')
    make_body19(folder / 'data')
    return folder
