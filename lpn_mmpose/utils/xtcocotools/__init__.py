"""Stand-in for xtcocotools 1.14.3, on top of pycocotools.

xtcocotools has wheels for Python 3.11 and older and for NumPy 1 alone. Where
there is none, :func:`lpn_mmpose.compat.missing_xtcocotools` lets its name
resolve to this package. What MMPose 1.3.2 calls is here and gives the same
results: ``coco.COCO``, ``cocoeval.COCOeval`` for keypoints, and ``mask``.
"""

__version__ = '1.14.3'
