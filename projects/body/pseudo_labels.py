#!/usr/bin/env python
"""Add keypoints that a teacher is sure of to COCO-style annotations, in COCO's 17, head and neck.

Writes two files. In the first are the annotated persons. They keep their labels and get the
teacher's keypoints where they have none, provided that the teacher agrees with most of
their labelled limbs. In the second are persons whom nobody annotated: the detector found
them, and all of their keypoints are the teacher's.

The teacher is ``movenet_thunder.onnx`` of ``movenet_teacher.py``. It sees each person twice,
once mirrored and smaller. It is sure of a keypoint that scores enough both times, at the
same place but for a twentieth of the box.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from mmengine.config import Config
from tqdm import tqdm

from lpn_mmpose.errors import InputError, fail
from lpn_mmpose.runtime import PersonDetector, topdown
from lpn_mmpose.runtime.engines import onnxruntime_session
from lpn_mmpose.runtime.media import read_image, replace_file
from lpn_mmpose.runtime.results import read_json

BODY19 = Path(__file__).parents[2] / 'configs/_base_/datasets/body19.py'
JOINTS = Config.fromfile(str(BODY19)).dataset_info['keypoint_info']
NAMES = [joint['name'] for joint in JOINTS.values()]
#: Their names in CrowdPose and MPII.
ALIASES = {'top_head': 'head', 'head_top': 'head', 'upper_neck': 'neck'}
#: The teacher's keypoints are the first 17 of ``NAMES``, and these of them the limbs'.
NUM_TAUGHT, LIMBS = 17, slice(5, 17)
#: For each of the teacher's keypoints the one on the other side.
MIRRORED = [NAMES.index(joint['swap'] or joint['name']) for joint in JOINTS.values()][:NUM_TAUGHT]
#: Margin around the box, and whether mirrored, of each look at a person.
VIEWS = ((1.25, False), (1.5, True))
INPUT_SIZE = (256, 256)

SCORE, HIGH_SCORE = 0.3, 0.5
#: In units of the longer side of the box: two views agree; the teacher agrees with a label;
#: it contradicts one.
SAME, AGREES, CONTRADICTS = 0.05, 0.1, 0.12


class Teacher:
    """Keypoints of a person in an image, with how far the teacher is to be believed.

    Args:
        model (str): ``movenet_thunder.onnx``.

    Raises:
        InputError: If it is missing or another model.
    """

    def __init__(self, model: str) -> None:
        if not Path(model).is_file():
            raise InputError(f'teacher {model} does not exist: movenet_teacher.py makes it')
        self.session = onnxruntime_session(model, threads=1)
        sides = [
            tuple(side.shape) for side in (*self.session.get_inputs(), *self.session.get_outputs())
        ]
        if sides != [(1, *INPUT_SIZE[::-1], 3), (1, 1, NUM_TAUGHT, 3)]:
            raise InputError(
                f'{model} maps {sides[0]} to {sides[1:]}: it is not movenet_thunder.onnx'
            )

    def __call__(self, image: np.ndarray, bbox: list[float]) -> tuple[np.ndarray, np.ndarray]:
        """Return keypoints (17, 2) in pixels, and scores (17, ), 0 where the views differ.

        Args:
            image (np.ndarray): uint8 (H, W, 3), BGR.
            bbox (list[float]): Box (x, y, width, height) in pixels.
        """
        box = np.array([bbox], np.float32)
        box[:, 2:] += box[:, :2]
        box = np.clip(box, 0, image.shape[1::-1] * 2)
        looks = [self.look(image, box, padding, mirror) for padding, mirror in VIEWS]
        keypoints, scores = map(np.array, zip(*looks))
        apart = np.linalg.norm(keypoints[0] - keypoints[1], axis=-1)
        return keypoints.mean(0), np.where(apart < SAME * max(bbox[2:]), scores.min(0), 0)

    def look(
        self, image: np.ndarray, box: np.ndarray, padding: float, mirror: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return keypoints (17, 2) in pixels and scores (17, ) of one look at a person.

        Args:
            image (np.ndarray): uint8 (H, W, 3), BGR.
            box (np.ndarray): The person's box (x1, y1, x2, y2), (1, 4).
            padding (float): Size of what the teacher sees to that of the box.
            mirror (bool): Whether it sees it mirrored.
        """
        center, scale = topdown.boxes_to_center_scale(box, INPUT_SIZE, padding)
        crop = np.empty((1, *INPUT_SIZE[::-1], 3), np.uint8)
        topdown.crop(image, center, scale, INPUT_SIZE, crop)
        crop = crop[..., ::-1]
        if mirror:
            crop = crop[:, :, ::-1]
        found = self.session.run(None, {self.session.get_inputs()[0].name: crop.astype(np.int32)})
        y, x, scores = found[0][0, 0].T
        coords = np.stack([1 - x if mirror else x, y], axis=-1) * INPUT_SIZE
        if mirror:
            coords, scores = coords[MIRRORED], scores[MIRRORED]
        coords = topdown.to_image(coords[None].astype(np.float32), center, scale, INPUT_SIZE)
        return coords[0], scores


def to_body19(keypoints: list[float], names: list[str]) -> np.ndarray:
    """Bring an annotation's keypoints (K * 3, ) into the order of ``NAMES``, (19, 3)."""
    found = np.zeros((len(NAMES), 3))
    for name, row in zip(names, np.reshape(keypoints, (-1, 3))):
        if ALIASES.get(name, name) in NAMES and row[2] > 0:
            found[NAMES.index(ALIASES.get(name, name))] = row
    return found


def complete(
    labels: np.ndarray,
    size: float,
    taught: np.ndarray,
    scores: np.ndarray,
    drop: bool,
    keep_face: bool,
) -> np.ndarray:
    """Return a person's labels with the teacher's beside them.

    Args:
        labels (np.ndarray): (x, y, visibility) in shape (19, 3).
        size (float): Longer side of the box.
        taught (np.ndarray): The teacher's keypoints (17, 2).
        scores (np.ndarray): Their scores (17, ).
        drop (bool): Whether labels go that the teacher contradicts with a high score.
        keep_face (bool): Whether the face is labelled, so that a missing label says unseen.
    """
    labels = labels.copy()
    joints = labels[:NUM_TAUGHT]
    labelled = joints[:, 2] > 0
    error = np.linalg.norm(taught - joints[:, :2], axis=-1) / size
    limbs = error[LIMBS][labelled[LIMBS]]
    agrees = len(limbs) >= 4 and (limbs < AGREES).mean() >= 0.6
    if drop:
        joints[labelled & (scores > HIGH_SCORE) & (error > CONTRADICTS)] = 0
    if agrees:
        missing = (scores > SCORE) & ~labelled
        if keep_face:
            missing[: LIMBS.start] = False
        joints[missing, :2], joints[missing, 2] = taught[missing], 2
    return labels


def is_new(box: np.ndarray, annotated: np.ndarray) -> bool:
    """Whether a detected box (x1, y1, x2, y2) is large enough and none of the boxes (N, 4)."""
    sides = box[2:] - box[:2]
    if sides.max() < 40 or sides.min() < 16:
        return False
    low, high = np.maximum(box[:2], annotated[:, :2]), np.minimum(box[2:], annotated[:, 2:])
    overlap = np.clip(high - low, 0, None).prod(-1)
    area = sides.prod()
    union = area + (annotated[:, 2:] - annotated[:, :2]).prod(-1) - overlap
    return not ((overlap / union > 0.3) | (overlap / area > 0.7)).any()


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('teacher', help='movenet_thunder.onnx')
    parser.add_argument('detector', help='name or ONNX file of a person detector')
    parser.add_argument('ann_file', type=Path, help='COCO-style JSON')
    parser.add_argument('images', type=Path, help='folder of its images')
    parser.add_argument(
        '--drop-contradicted',
        action='store_true',
        help='drop labels that the teacher contradicts with a high score',
    )
    return parser.parse_args()


def read_annotations(path: Path) -> tuple[dict, dict[int, list[dict]], list[str]]:
    """Return a file's content, each image's persons by its id, and the keypoints' names."""
    content = read_json(path)
    try:
        persons: dict[int, list[dict]] = {image['id']: [] for image in content['images']}
        for ann in content['annotations']:
            persons[ann['image_id']].append(ann)
        names = content['categories'][0]['keypoints']
    except (KeyError, IndexError, TypeError) as error:
        raise InputError(f'{path} is not a COCO-style JSON: {error!r}') from error
    if not content['annotations']:
        raise InputError(f'{path} has no persons')
    return content, persons, names


def add_labels(args: argparse.Namespace) -> None:
    """Do what the command line says."""
    outs = [args.ann_file.with_name(f'{args.ann_file.stem}_{n}.json') for n in ('taught', 'found')]
    if all(out.is_file() for out in outs):
        print(f'{outs[0]} and {outs[1]} are there')
        return
    content, persons, names = read_annotations(args.ann_file)
    teacher = Teacher(args.teacher)
    detect = PersonDetector(args.detector, threads=1, score_thr=0.2)
    parts = dict(taught=[], found=[])
    next_id = 1 + max(ann['id'] for ann in content['annotations'])
    added = np.zeros(len(NAMES), int)
    for image in tqdm(content['images'], desc=args.ann_file.stem, disable=None):
        pixels = read_image(args.images / image['file_name'])
        annotated = persons[image['id']]
        for ann in annotated:
            labels = to_body19(ann['keypoints'], names)
            if (labels[:, 2] > 0).any() and not ann.get('iscrowd'):
                taught, scores = teacher(pixels, ann['bbox'])
                drop, face = args.drop_contradicted, 'nose' in names
                new = complete(labels, max(ann['bbox'][2:]), taught, scores, drop, face)
                added += np.sign(new[:, 2]).astype(int) - np.sign(labels[:, 2]).astype(int)
                labels = new
            parts['taught'].append(
                dict(
                    ann,
                    category_id=1,
                    keypoints=labels.ravel().tolist(),
                    num_keypoints=int((labels[:, 2] > 0).sum()),
                )
            )
        boxes = np.array([ann['bbox'] for ann in annotated]).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        for box in detect(pixels)[0].astype(float):
            if not is_new(box, boxes):
                continue
            bbox = [*box[:2], *(box[2:] - box[:2])]
            taught, scores = teacher(pixels, bbox)
            sure = scores > SCORE
            if sure[LIMBS].sum() < 3 or sure.sum() < 5:
                continue
            labels = np.zeros((len(NAMES), 3))
            labels[:NUM_TAUGHT][sure, :2], labels[:NUM_TAUGHT][sure, 2] = taught[sure], 2
            parts['found'].append(
                dict(
                    id=next_id,
                    image_id=image['id'],
                    category_id=1,
                    iscrowd=0,
                    bbox=bbox,
                    area=bbox[2] * bbox[3],
                    keypoints=labels.ravel().tolist(),
                    num_keypoints=int(sure.sum()),
                )
            )
            next_id += 1
    category = dict(id=1, name='person', keypoints=NAMES, skeleton=[])
    for out, annotations in zip(outs, parts.values()):
        new = dict(images=content['images'], annotations=annotations, categories=[category])
        replace_file(out, json.dumps(new).encode())
    changes = ', '.join(f'{name} {count:+d}' for name, count in zip(NAMES, added) if count)
    print(f'{outs[0]}: {len(parts["taught"])} persons; labels: {changes or "none added"}')
    print(f'{outs[1]}: {len(parts["found"])} persons')


def main() -> None:
    try:
        add_labels(parse_args())
    except (InputError, OSError) as error:
        fail(error)


if __name__ == '__main__':
    main()
