"""Keypoint evaluation with the variants of xtcocotools 1.14.3."""

import contextlib
import io
import warnings
from collections import defaultdict

import numpy as np
from pycocotools import cocoeval

from lpn_mmpose.errors import InputError

#: Which fields of an annotation make up the keypoints of each variant.
PARTS = {
    'keypoints': ['keypoints'],
    'keypoints_body': ['keypoints'],
    'keypoints_crowd': ['keypoints'],
    'keypoints_foot': ['foot_kpts'],
    'keypoints_face': ['face_kpts'],
    'keypoints_lefthand': ['lefthand_kpts'],
    'keypoints_righthand': ['righthand_kpts'],
    'keypoints_wholebody': [
        'keypoints',
        'foot_kpts',
        'face_kpts',
        'lefthand_kpts',
        'righthand_kpts',
    ],
}
#: Crowd indices at which CrowdPose's images become medium and hard.
CROWD_LEVELS = (0.2, 0.8)


class COCOeval(cocoeval.COCOeval):
    """pycocotools' evaluation with own sigmas, variants and boxes for areas.

    Each variant is evaluated as pycocotools' ``'keypoints'``, on copies of the
    annotations that hold the part in question as their keypoints and score.
    As in xtcocotools, an annotation may have the id 0 and a visible keypoint
    has v > 0, whatever ``num_keypoints`` says (but for CrowdPose).

    Args:
        cocoGt (COCO, optional): Ground truth.
        cocoDt (COCO, optional): Results, from ``cocoGt.loadRes``.
        iouType (str): One of :data:`PARTS`. ``'keypoints_crowd'`` also gives
            the AP of easy, medium and hard images, by their ``crowdIndex``.
        sigmas (np.ndarray, optional): Of the K keypoints. Default: COCO's 17.
        use_area (bool): Whether to scale by the annotations' ``area`` or by
            0.53 times that of their box. Default: True.

    Raises:
        NotImplementedError: If the variant is not covered.
    """

    def __init__(self, cocoGt=None, cocoDt=None, iouType='keypoints', sigmas=None, use_area=True):
        _check_variant(iouType)
        super().__init__(cocoGt, cocoDt, 'keypoints')
        self.params.iouType = iouType
        self.sigmas = self.params.kpt_oks_sigmas if sigmas is None else sigmas
        self.use_area = use_area
        self.score_key = 'score'

    @contextlib.contextmanager
    def _as_keypoints(self):
        """Give the variant the only name that pycocotools knows."""
        self._variant = self.params.iouType
        _check_variant(self._variant)
        self.params.iouType = 'keypoints'
        try:
            yield
        finally:
            self.params.iouType = self._variant

    def _prepare(self):
        part = self._variant.removeprefix('keypoints_')
        named = self._variant not in ('keypoints', 'keypoints_body', 'keypoints_crowd')
        self.score_key = f'{part}_score' if named else 'score'
        chosen = dict(imgIds=self.params.imgIds)
        if self.params.useCats:
            chosen['catIds'] = self.params.catIds
        self._gts, self._dts = defaultdict(list), defaultdict(list)
        for gt in self.cocoGt.loadAnns(self.cocoGt.getAnnIds(**chosen)):
            gt = self._with_part(gt)
            visible = np.count_nonzero(np.array(gt['keypoints'])[2::3] > 0)
            if self._variant == 'keypoints_crowd':
                visible = gt['num_keypoints']  # those with v = 2
            gt['ignore'] = visible == 0 or gt.get('iscrowd', 0)
            gt['area'] = self._area(gt)
            self._gts[gt['image_id'], gt['category_id']].append(gt)
        unscored = False
        for dt in self.cocoDt.loadAnns(self.cocoDt.getAnnIds(**chosen)):
            unscored |= self.score_key not in dt
            dt = self._with_part(dt)
            if self.score_key in dt:
                dt['score'] = dt[self.score_key]
            if np.any(np.array(dt['keypoints'])[2::3] > 0):
                self._dts[dt['image_id'], dt['category_id']].append(dt)
        if unscored:
            warnings.warn(f"'{self.score_key}' not found, use 'score' instead.")
        self.evalImgs = defaultdict(list)
        self.eval = {}

    def _with_part(self, annotation):
        """Copy it with the part as its keypoints and an id above 0.

        pycocotools takes the id 0 for no match.
        """
        keypoints = [x for part in PARTS[self._variant] for x in annotation[part]]
        return dict(annotation, keypoints=keypoints, id=annotation['id'] + 1)

    def _area(self, gt):
        if not self.use_area:
            return gt['bbox'][3] * gt['bbox'][2] * 0.53
        if 'area' not in gt:
            raise InputError(
                f"annotation {gt['id'] - 1} has no 'area': evaluate with use_area=False"
            )
        return gt['area']

    def evaluate(self):
        """Match the results with the ground truth of each image."""
        self.params.kpt_oks_sigmas = self.sigmas
        with self._as_keypoints():
            super().evaluate()
        self._paramsEval.iouType = self._variant

    def evaluateImg(self, imgId, catId, aRng, maxDet):
        """Match those of one image; -1 for no match."""
        found = super().evaluateImg(imgId, catId, aRng, maxDet)
        if found is not None:
            for key in ('dtMatches', 'gtMatches'):
                found[key] = found[key].astype(np.int64) - 1
            for key in ('dtIds', 'gtIds'):
                found[key] = [i - 1 for i in found[key]]
        return found

    def accumulate(self, p=None):
        """Compute precision and recall from what :meth:`evaluate` found."""
        found = self.evalImgs
        self.evalImgs = [e and dict(e, dtMatches=e['dtMatches'] + 1) for e in found]
        super().accumulate(p)
        self.evalImgs = found

    def summarize(self):
        """Compute and print ``stats``: 10 figures, or CrowdPose's 9."""
        with self._as_keypoints():
            super().summarize()
        if self._variant == 'keypoints_crowd':
            overall = self.stats[[0, 1, 2, 5, 6, 7]]
            self.stats = np.append(overall, self._crowd_precisions())

    def _crowd_precisions(self):
        """AP of easy, medium and hard images, rounded to four digits.

        As in xtcocotools, this evaluation is left at the hard images.
        """
        levels = [[], [], []]
        for image in self.cocoGt.dataset['images']:
            if 'crowdIndex' not in image:
                raise InputError(f"image {image['id']} has no 'crowdIndex' for keypoints_crowd")
            levels[np.digitize(image['crowdIndex'], CROWD_LEVELS)].append(image['id'])
        precisions = []
        for name, self.params.imgIds in zip(('easy', 'medium', 'hard'), levels):
            with contextlib.redirect_stdout(io.StringIO()):
                self.evaluate()
                self.accumulate()
            precisions.append(round(np.mean(self.eval['precision'][:, :, :, 0, :]), 4))
            print(f' Average Precision  (AP) @[ crowd={name:>6s} ] = {precisions[-1]:0.3f}')
        return precisions


def _check_variant(variant):
    if variant not in PARTS:
        raise NotImplementedError(
            f'{variant!r} is not a variant that lpn_mmpose evaluates in place of '
            f'xtcocotools, which are {", ".join(PARTS)}; for boxes and masks there is '
            "pycocotools' COCOeval"
        )
