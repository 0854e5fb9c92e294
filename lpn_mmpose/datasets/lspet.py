"""Leeds Sports Pose Extended."""

from mmpose.datasets.datasets import BaseCocoStyleDataset
from mmpose.registry import DATASETS


@DATASETS.register_module()
class LspetDataset(BaseCocoStyleDataset):
    """Leeds Sports Pose Extended, converted by ``lspet_to_coco.py``.

    "Learning Effective Human Pose Estimation from Inaccurate Annotation",
    CVPR'2011, http://sam.johnson.io/research/lspet.html: 10 000 photographs
    of athletes, one annotated person each.

    Its fourteen joints are CrowdPose's, in CrowdPose's order after the
    conversion, so that its metainfo (names, flip pairs, sigmas, skeleton)
    serves. Arguments are those of
    :class:`mmpose.datasets.BaseCocoStyleDataset`.
    """

    METAINFO: dict = dict(from_file='configs/_base_/datasets/crowdpose.py')
