"""How detector and pose model do together on COCO's photographs."""

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ..errors import InputError
from ..runtime import PersonDetector, Persons, PoseRuntime
from ..runtime.media import read_image
from ..runtime.results import read_json, to_coco, to_mmpose
from ..runtime.tracking import match_boxes, pairwise_iou

#: COCO's keypoints and their OKS sigmas.
COCO_SIGMAS = dict(
    nose=0.026,
    left_eye=0.025,
    right_eye=0.025,
    left_ear=0.035,
    right_ear=0.035,
    left_shoulder=0.079,
    right_shoulder=0.079,
    left_elbow=0.072,
    right_elbow=0.072,
    left_wrist=0.062,
    right_wrist=0.062,
    left_hip=0.107,
    right_hip=0.107,
    left_knee=0.087,
    right_knee=0.087,
    left_ankle=0.089,
    right_ankle=0.089,
)
#: Area in pixels of a person that is to be found.
MIN_AREA = 32**2


def xyxy(annotations: list[dict]) -> np.ndarray:
    """Return annotations' boxes (N, 4) as x1, y1, x2, y2."""
    boxes = np.array([a['bbox'] for a in annotations], float).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return boxes


class PersonChain:
    """Photographs of a COCO file, with what the chain makes of them.

    Args:
        annotations (Path): COCO keypoint annotations.
        images (Path): Folder of the images.
        pose (PoseRuntime): The pose model.
        detector (PersonDetector): The detector.

    Raises:
        InputError: If the annotations or an image cannot be read, or the
            model has no keypoint of COCO.
    """

    def __init__(
        self, annotations: Path, images: Path, pose: PoseRuntime, detector: PersonDetector
    ) -> None:
        content = read_json(annotations)
        try:
            self.images = content['images']
            self._annotations = [a for a in content['annotations'] if 'keypoints' in a]
        except (TypeError, KeyError) as error:
            raise InputError(f'{annotations} holds no COCO annotations: {error!r}') from error
        self.folder, self.pose, self.detector = Path(images), pose, detector
        names = pose.meta.keypoint_names
        self.joints = [name for name in COCO_SIGMAS if name in names]
        if not self.joints or not self._annotations:
            raise InputError(f'{annotations} and the model have no keypoints in common')
        self._of_model = [names.index(name) for name in self.joints]
        self._of_coco = [list(COCO_SIGMAS).index(name) for name in self.joints]

    def of(self, image_id: int) -> list[dict]:
        """Return an image's annotations, crowds too."""
        return [a for a in self._annotations if a['image_id'] == image_id]

    def run(self) -> Iterator[tuple[dict, Persons, Persons]]:
        """Yield each image with the persons in annotated and in detected boxes."""
        for image in self.images:
            pixels = read_image(self.folder / image['file_name'])
            labelled = [a for a in self.of(image['id']) if not a.get('iscrowd')]
            given = xyxy(labelled)
            ones = np.ones(len(given), np.float32)
            found, scores = self.detector(pixels)
            yield (
                image,
                Persons(*self.pose(pixels, given), given, ones),
                Persons(*self.pose(pixels, found), found, scores),
            )

    def average_precision(self, persons: dict[int, Persons]) -> dict[str, float]:
        """Return COCO's AP and AR over the joints that model and COCO share.

        Args:
            persons (dict[int, Persons]): By image id.
        """
        annotations = []
        for annotation in self._annotations:
            points = np.reshape(annotation['keypoints'], (-1, 3))[self._of_coco]
            annotations.append(
                annotation
                | dict(
                    keypoints=points.ravel().tolist(), num_keypoints=int((points[:, 2] > 0).sum())
                )
            )
        results = []
        for image_id, of_image in persons.items():
            for instance in to_mmpose(of_image):
                for key in ('keypoints', 'keypoint_scores'):
                    instance[key] = [instance[key][i] for i in self._of_model]
                results += to_coco([instance], image_id, '')
        names = ('AP', 'AP50', 'AP75', 'AP_M', 'AP_L', 'AR', 'AR50', 'AR75', 'AR_M', 'AR_L')
        if not results:
            return dict.fromkeys(names, 0.0)
        with contextlib.redirect_stdout(io.StringIO()):
            truth = COCO()
            truth.dataset = dict(
                images=self.images, annotations=annotations, categories=[dict(id=1, name='person')]
            )
            truth.createIndex()
            evaluation = COCOeval(truth, truth.loadRes(results), 'keypoints')
            evaluation.params.kpt_oks_sigmas = np.array([COCO_SIGMAS[j] for j in self.joints])
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        return dict(zip(names, map(float, evaluation.stats)))

    def count_boxes(self, found: dict[int, Persons]) -> dict[str, float]:
        """Sort the detected boxes by what they are of.

        Args:
            found (dict[int, Persons]): By image id.

        Returns:
            dict: ``persons`` and ``found``, annotated persons larger than
            32x32 and those with a box of IoU 0.5; and of the boxes
            ``matched``, ``twice`` (IoU 0.5 with a person that has a better
            one), ``parts`` (four fifths inside a person's box), ``crowd``,
            and ``other``: persons without annotation, mirror images,
            posters, and what is no person.
        """
        counts = dict.fromkeys(
            ('persons', 'found', 'boxes', 'matched', 'twice', 'parts', 'crowd', 'other'), 0
        )
        for image in self.images:
            annotations, boxes = self.of(image['id']), found[image['id']].boxes
            persons = xyxy([a for a in annotations if not a.get('iscrowd')])
            crowds = xyxy([a for a in annotations if a.get('iscrowd')])
            large = [a['area'] > MIN_AREA for a in annotations if not a.get('iscrowd')]
            pairs = match_boxes(persons, boxes, 0.5)
            matched = {j for _, j in pairs}
            counts['persons'] += sum(large)
            counts['found'] += sum(large[i] for i, _ in pairs)
            counts['boxes'] += len(boxes)
            counts['matched'] += len(matched)
            iou = pairwise_iou(boxes, persons)
            inside = _share_inside(boxes, persons)
            in_crowd = _share_inside(boxes, crowds)
            for j in set(range(len(boxes))) - matched:
                if (iou[j] >= 0.5).any():
                    counts['twice'] += 1
                elif (inside[j] >= 0.8).any():
                    counts['parts'] += 1
                elif (in_crowd[j] >= 0.5).any():
                    counts['crowd'] += 1
                else:
                    counts['other'] += 1
        counts['recall'] = counts['found'] / max(counts['persons'], 1)
        return counts


def _share_inside(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return which share of each of N boxes lies in each of M others, (N, M)."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=-1)
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=-1)
    return shared / np.maximum(areas, 1e-9)[:, None]
