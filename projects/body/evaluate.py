#!/usr/bin/env python
"""Evaluate exported models on the held-out photographs of each data set.

Prints a table: PCK@0.2 of the torso over the twelve joints of arms and legs,
ground-truth boxes, no flip test, a row for each model and a column for each
set.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from tqdm import tqdm

from lpn_mmpose.errors import InputError, fail
from lpn_mmpose.evaluation.torso_pck import (
    LIMB_JOINTS,
    joint_accuracy,
    torso_sizes,
)
from lpn_mmpose.runtime import PoseRuntime
from lpn_mmpose.runtime.media import read_image
from lpn_mmpose.runtime.results import read_json

#: Annotations and images of each set, below the data folder.
SETS = {
    'LSP Extended': ('lspet/annotations/lspet_val.json', 'lspet/images'),
    'LSP': ('lsp/annotations/lsp_val.json', 'lsp/images'),
    'MPII': ('mpii/annotations/mpii_coco_val.json', 'mpii/images'),
    'COCO': ('coco/annotations/coco_val.json', 'coco/train2017'),
    'COCO val2017': ('coco/annotations/person_keypoints_val2017.json', 'coco/val2017'),
}


def read_persons(ann_file: Path) -> list[dict]:
    """Read who is annotated in each image, as MMPose's COCO datasets do.

    Args:
        ann_file (Path): COCO-style JSON.

    Returns:
        list[dict]: For each image with persons ``file_name``, ``boxes``
        (N, 4) as xyxy in pixels, ``keypoints`` (N, 12, 2) in pixels and
        ``labelled`` (N, 12), of the joints ``LIMB_JOINTS``.
    """
    content = read_json(ann_file)
    names = content['categories'][0]['keypoints']
    order = [names.index(name) for name in LIMB_JOINTS]
    images = {image['id']: image for image in content['images']}
    persons: dict[int, list[dict]] = {}
    for ann in content['annotations']:
        if not ann.get('iscrowd') and ann['num_keypoints'] > 0:
            persons.setdefault(ann['image_id'], []).append(ann)
    found = []
    for image_id, anns in persons.items():
        image = images[image_id]
        keypoints = np.reshape([ann['keypoints'] for ann in anns], (len(anns), -1, 3))[:, order]
        boxes = np.array([ann['bbox'] for ann in anns], np.float32)
        boxes[:, 2:] += boxes[:, :2]
        limits = (image['width'] - 1, image['height'] - 1)
        found.append(
            dict(
                file_name=image['file_name'],
                boxes=np.clip(boxes, 0, limits * 2),
                keypoints=keypoints[..., :2],
                labelled=keypoints[..., 2] > 0,
            )
        )
    return found


def evaluate(pose: PoseRuntime, persons: Sequence[dict], images: Path, thr: float) -> np.ndarray:
    """Return a model's accuracy of each of ``LIMB_JOINTS`` (12, ).

    Args:
        pose (PoseRuntime): A model that has these joints.
        persons (Sequence[dict]): What :func:`read_persons` returned.
        images (Path): Folder of the images.
        thr (float): Threshold in units of the torso.
    """
    order = [pose.meta.keypoint_names.index(name) for name in LIMB_JOINTS]
    errors = []
    for image in tqdm(persons, desc=images.parent.name, leave=False, disable=None):
        pixels = read_image(images / image['file_name'])
        found, _ = pose(pixels, image['boxes'])
        errors.append(np.linalg.norm(found[:, order] - image['keypoints'], axis=-1))
    keypoints, labelled = (
        np.concatenate([image[key] for image in persons]) for key in ('keypoints', 'labelled')
    )
    sizes = torso_sizes(keypoints, labelled, LIMB_JOINTS)
    return joint_accuracy(np.concatenate(errors), labelled, sizes, thr)


class TeacherPose:
    """MoveNet, which ``pseudo_labels.py`` asks, called as a :class:`PoseRuntime` is."""

    def __init__(self, model: str) -> None:
        from pseudo_labels import NAMES, NUM_TAUGHT, VIEWS, Teacher

        self.teacher, self.view = Teacher(model), VIEWS[0]
        self.meta = SimpleNamespace(keypoint_names=NAMES[:NUM_TAUGHT])

    def __call__(self, image: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        looks = [self.teacher.look(image, box[None], *self.view) for box in boxes]
        keypoints, scores = zip(*looks)
        return np.array(keypoints), np.array(scores)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument('models', nargs='*', help='exported models, or names of shipped ones')
    parser.add_argument('--teacher', help='also movenet_thunder.onnx of movenet_teacher.py')
    parser.add_argument('--data', default='data', help='folder of the data')
    parser.add_argument('--sets', nargs='+', default=list(SETS), choices=list(SETS))
    parser.add_argument('--thr', type=float, default=0.2, help='in units of the torso')
    parser.add_argument('--padding', type=float, help="of the boxes, instead of the model's own")
    parser.add_argument('--threads', type=int, help='of the engine')
    parser.add_argument('--joints', action='store_true', help='also a row for each joint')
    args = parser.parse_args()
    if not args.models and not args.teacher:
        parser.error('give a model, or --teacher')
    if args.padding is not None and not args.padding > 0:
        parser.error(f'--padding must be positive, got {args.padding}')
    return args


def print_table(args: argparse.Namespace) -> None:
    """Print a row for each model.

    Raises:
        InputError: If a model, annotations or an image cannot be read.
    """
    sets = {}
    for name in args.sets:
        ann_file, images = SETS[name]
        path = Path(args.data, ann_file)
        if not path.is_file():
            raise InputError(f'{path} not found: see the README')
        sets[name] = read_persons(path), Path(args.data, images)
    poses = {m: PoseRuntime(m, threads=args.threads) for m in args.models}
    if args.padding:
        for pose in poses.values():
            pose.meta = replace(pose.meta, bbox_padding=args.padding)
    if args.teacher:
        poses[args.teacher] = TeacherPose(args.teacher)
    counts = [sum(len(i['boxes']) for i in sets[name][0]) for name in sets]
    print(
        '| PCK@{:g} | {} |'.format(
            args.thr, ' | '.join(f'{name} ({count})' for name, count in zip(sets, counts))
        )
    )
    print('|---' * (1 + len(sets)) + '|')
    for model, pose in poses.items():
        results = [evaluate(pose, persons, images, args.thr) for persons, images in sets.values()]
        rows = {model: np.nanmean(results, axis=1)}
        if args.joints:
            rows.update(zip(LIMB_JOINTS, np.transpose(results)))
        for name, values in rows.items():
            print(f'| {name} | ' + ' | '.join(f'{v:.3f}' for v in values) + ' |')


def main() -> None:
    try:
        print_table(parse_args())
    except InputError as error:
        fail(error)


if __name__ == '__main__':
    main()
