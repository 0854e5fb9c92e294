"""MPII Human Pose with training targets where its images have them."""

from mmpose.datasets.datasets import MpiiDataset
from mmpose.registry import DATASETS


@DATASETS.register_module()
class ZeroBasedMpiiDataset(MpiiDataset):
    """MPII whose joints count pixels from 0 in training.

    MPII's annotations count from 1. LPN's original code, as HRNet's code before it,
    subtracts 1 from the joints that it trains on and adds 1 to the
    predictions that it evaluates. MMPose 1.3.2 does the latter
    (``MpiiPCKAccuracy``) but subtracts from the box's center alone, so that
    what it trains is one pixel off in evaluation. Test data stay 1-based, as
    the metric expects them. Arguments are those of
    :class:`mmpose.datasets.MpiiDataset`.
    """

    def _load_annotations(self) -> tuple[list[dict], list[dict]]:
        instances, images = super()._load_annotations()
        if not self.test_mode:
            for instance in instances:
                instance['keypoints'] -= 1
        return instances, images
