#!/usr/bin/env python
"""Draw planes seen from above, with their keypoints in COCO's format.

Stands for photographs and an annotation tool in the steps of
docs/datasets.md.
"""

import argparse
import json
from pathlib import Path

import cv2
import numpy as np

KEYPOINTS = ('nose', 'tail', 'left_wing', 'right_wing', 'left_tailplane', 'right_tailplane')
#: The keypoints of a plane that flies up, in units of its length; y is down.
SHAPE = np.array([[0, -0.5], [0, 0.5], [-0.5, 0.05], [0.5, 0.05], [-0.2, 0.45], [0.2, 0.45]])


def draw(image, points, color):
    """Draw a plane by its keypoints (6, 2)."""
    nose, tail, left, right, rear_left, rear_right = points
    length = np.linalg.norm(nose - tail)
    front = nose + 0.35 * (tail - nose)
    for tip_left, tip_right, root in (
        (left, right, front),
        (rear_left, rear_right, nose + 0.85 * (tail - nose)),
    ):
        back = root + 0.15 * (tail - nose)
        outline = np.array([tip_left, root, tip_right, back])
        cv2.fillPoly(image, [outline.round().astype(int)], color)
    cv2.line(
        image, *(tuple(map(int, p.round())) for p in (nose, tail)), color, max(3, int(length / 12))
    )


def make_split(folder, split, count, rng):
    """Draw ``count`` images of one to three planes."""
    images, annotations = [], []
    (folder / split).mkdir(parents=True, exist_ok=True)
    for image_id in range(1, count + 1):
        width, height = rng.randint(200, 320, 2)
        ground = rng.randint(40, 160, (8, 8, 3)).astype(np.uint8)
        image = cv2.resize(ground, (int(width), int(height)), interpolation=cv2.INTER_CUBIC)
        planes = rng.randint(1, 4)
        for slot in range(planes):
            # beside each other, so that none hides another
            length = min(width / planes, height) * rng.uniform(0.55, 0.8)
            angle = rng.uniform(-np.pi, np.pi)
            turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            center = ((slot + 0.5) * width / planes, height / 2)
            points = length * SHAPE @ turn.T + center
            draw(image, points, rng.randint(150, 256, 3).tolist())
            low, high = points.min(0), points.max(0)
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=image_id,
                    category_id=1,
                    iscrowd=0,
                    bbox=[*low.tolist(), *(high - low).tolist()],
                    area=float(np.prod(high - low)),
                    num_keypoints=len(points),
                    keypoints=[v for x, y in points.round(2).tolist() for v in (x, y, 2)],
                )
            )
        name = f'{image_id:06d}.jpg'
        cv2.imwrite(str(folder / split / name), image)
        images.append(dict(id=image_id, file_name=name, width=int(width), height=int(height)))
    content = dict(
        images=images,
        annotations=annotations,
        categories=[dict(id=1, name='plane', keypoints=KEYPOINTS)],
    )
    (folder / f'{split}.json').write_text(json.dumps(content))
    print(f'{folder}/{split}.json: {len(images)} images, {len(annotations)} planes')


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--out', default='data/planes', type=Path)
    parser.add_argument(
        '--images', default=400, type=int, help='training images; a quarter more for validation'
    )
    args = parser.parse_args()
    rng = np.random.RandomState(0)
    make_split(args.out, 'train', args.images, rng)
    make_split(args.out, 'val', args.images // 4, rng)


if __name__ == '__main__':
    main()
