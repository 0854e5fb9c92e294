"""Made-up persons and results in the layouts that xtcocotools evaluates.

``python tests/keypoint_sets.py`` writes what xtcocotools itself makes of them
to ``tests/golden/xtcocotools.npz``; it needs Python 3.11 or older.
"""

import contextlib
import io
import warnings
from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).parent / 'golden/xtcocotools.npz'
#: Field of an annotation and number of its keypoints, in whole-body order.
PARTS = {
    'keypoints': 17,
    'foot_kpts': 6,
    'face_kpts': 68,
    'lefthand_kpts': 21,
    'righthand_kpts': 21,
}
#: name: (layout, iouType, whether by area)
CASES = {
    'coco': ('coco', 'keypoints', True),
    'coco by boxes': ('coco', 'keypoints', False),
    'crowdpose': ('crowdpose', 'keypoints_crowd', True),
    'crowdpose by boxes': ('crowdpose', 'keypoints_crowd', False),
    'own': ('own', 'keypoints', True),
    'own by boxes': ('own', 'keypoints', False),
    **{
        f'whole body: {part}': ('wholebody', f'keypoints_{part}', True)
        for part in ('body', 'foot', 'face', 'lefthand', 'righthand', 'wholebody')
    },
    'whole body by boxes': ('wholebody', 'keypoints_wholebody', False),
}


def make_set(layout):
    """Make annotations and results.

    Returns:
        tuple[dict, list[dict]]: Ground truth and results as COCO's JSON files
        hold them.
    """
    rng = np.random.RandomState(sorted({c[0] for c in CASES.values()}).index(layout))
    own = {'coco': 17, 'crowdpose': 14, 'own': 5}
    parts = dict(keypoints=own[layout]) if layout in own else PARTS
    images, annotations, results = [], [], []
    for image in range(24):
        images.append(dict(id=image, width=640, height=480, file_name=f'{image}.jpg'))
        if layout == 'crowdpose':
            images[-1]['crowdIndex'] = [0.05, 0.2, 0.5, 0.8, 0.95][image % 5]
        for _ in range(rng.randint(0, 5)):
            box = [*rng.randint(0, 300, 2).tolist(), *rng.randint(12, 220, 2).tolist()]
            annotation = dict(
                id=len(annotations), image_id=image, category_id=1, bbox=box, num_keypoints=0
            )
            if layout != 'own' or rng.rand() < 0.8:  # xtcocotools sets it
                annotation['iscrowd'] = int(rng.rand() < 0.1)
            annotation['area'] = round(box[2] * box[3] * rng.uniform(0.3, 0.9), 2)
            near = rng.choice([0.005, 0.02, 0.1])
            result = dict(image_id=image, category_id=1, score=round(rng.rand(), 2))
            for part, number in parts.items():
                points = np.round(rng.rand(number, 2) * box[2:] + box[:2], 2)
                seen = rng.choice(3, number, p=[0.2, 0.2, 0.6])
                if rng.rand() < 0.1:
                    seen[:] = 0
                found = np.round(points + rng.randn(number, 2) * near * box[3], 2)
                confidence = np.round(rng.rand(number), 2)
                if rng.rand() < 0.05:
                    confidence[:] = 0
                annotation[part] = np.column_stack([points, seen]).reshape(-1).tolist()
                annotation['num_keypoints'] += int((seen == 2).sum())
                result[part] = np.column_stack([found, confidence]).reshape(-1).tolist()
            annotations.append(annotation)
            if part != 'keypoints' and rng.rand() < 0.5:
                result['lefthand_score'] = round(rng.rand(), 2)
            if layout == 'own':
                result['bbox'] = box
            if rng.rand() < 0.9:
                results.append(result)
            if rng.rand() < 0.3:  # a second one, elsewhere
                moved = dict(result, score=round(rng.rand(), 2))
                moved[part] = (np.array(result[part]) + [7, -5, 0] * number).tolist()
                results.append(moved)
    categories = [dict(id=1, name='person')]
    return dict(images=images, annotations=annotations, categories=categories), results


def sigmas(layout):
    """One per keypoint; None for COCO's own."""
    number = dict(crowdpose=14, own=5, wholebody=133).get(layout)
    return None if number is None else np.linspace(0.02, 0.11, number)


def evaluate(coco, cocoeval, case, path):
    """Evaluate one of :data:`CASES`.

    Args:
        coco (module): It has ``COCO``.
        cocoeval (module): It has ``COCOeval``.
        case (str): Which one.
        path (Path): JSON file of the ground truth to write.
    """
    import json

    layout, variant, by_area = CASES[case]
    truth, results = make_set(layout)
    if not by_area:
        for annotation in truth['annotations']:
            del annotation['area']
    path.write_text(json.dumps(truth))
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter('ignore')  # part scores that are not there
        truth = coco.COCO(str(path))
        found = truth.loadRes(results)
        sigma = sigmas(layout)
        if layout == 'wholebody' and variant != 'keypoints_wholebody':
            part = 'keypoints' if variant == 'keypoints_body' else f'{variant[10:]}_kpts'
            sigma = sigma[: PARTS[part]]
        evaluation = cocoeval.COCOeval(truth, found, variant, sigma, by_area)
        evaluation.params.useSegm = None
        evaluation.evaluate()
        matches = evaluation.evalImgs
        evaluation.accumulate()
        tables = {key: evaluation.eval[key] for key in ('precision', 'recall', 'scores')}
        evaluation.summarize()
    return dict(tables, stats=evaluation.stats), matches


def main():
    """Store what xtcocotools gives."""
    import tempfile

    from xtcocotools import coco, cocoeval

    stored = {}
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            tables, _ = evaluate(coco, cocoeval, case, Path(folder) / 'truth.json')
            print(case, np.round(tables['stats'], 3))
            for key in ('precision', 'recall', 'stats'):
                stored[f'{case}/{key}'] = tables[key]
    np.savez_compressed(GOLDEN, **stored)


if __name__ == '__main__':
    main()
