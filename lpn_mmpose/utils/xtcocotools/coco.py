"""Annotations in COCO's format, as xtcocotools 1.14.3 reads them."""

import json

import numpy as np
from pycocotools import coco


class COCO(coco.COCO):
    """pycocotools' index of annotations with what xtcocotools adds.

    Args:
        annotation_file (str, optional): A JSON file.
        test_index (list[int], optional): Which keypoints of each annotation
            to keep, and their order.
        ann_data (dict, optional): What the file would hold, instead of it.
    """

    def __init__(self, annotation_file=None, test_index=None, ann_data=None):
        super().__init__(None if ann_data is not None else annotation_file)
        self.anno_file = [annotation_file]
        self.test_index = test_index
        if ann_data is not None:
            self.dataset = ann_data
            self.createIndex()
        for ann in self.dataset.get('annotations', []):
            if test_index is not None:
                joints = np.reshape(ann['keypoints'], (-1, 3))[test_index]
                ann['keypoints'] = joints.reshape(-1).tolist()
            ann.setdefault('iscrowd', False)

    def getAnnIds(self, imgIds=[], catIds=[], areaRng=[], iscrowd=None):
        """List annotations; the lower bound of the area is within."""
        if len(areaRng):
            areaRng = [np.nextafter(areaRng[0], -np.inf), areaRng[1]]
        return super().getAnnIds(imgIds, catIds, areaRng, iscrowd)

    def loadRes(self, resFile, resData=None):
        """Load results, of which there may be none.

        Args:
            resFile (str | list[dict] | np.ndarray): A JSON file or what it
                would hold.
            resData (list[dict], optional): What the file would hold, instead
                of it.

        Returns:
            COCO: The results with ``id``, ``area`` and ``bbox``.
        """
        results = resFile
        if isinstance(resFile, str):
            results = resData
            if results is None:
                with open(resFile) as file:
                    results = json.load(file)
        if len(self.anno_file) == 1:
            self.anno_file.append(resFile)
        loaded = COCO()
        if len(results):
            loaded.dataset = super().loadRes(results).dataset
        else:
            loaded.dataset = dict(images=list(self.dataset['images']), annotations=[])
        loaded.createIndex()
        return loaded
