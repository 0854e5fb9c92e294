"""An exported model in the place of a trained one."""

from mmengine.model import BaseModel
from mmengine.structures import InstanceData
from mmpose.registry import MODELS
from mmpose.structures import PoseDataSample

from ...runtime import PoseRuntime
from ...runtime.media import read_image


@MODELS.register_module()
class ExportedPoseEstimator(BaseModel):
    """An exported model that a runner tests.

    It reads the images of the data samples itself and gives them, with their
    boxes, to the :class:`~lpn_mmpose.runtime.PoseRuntime`, so that a test is
    one of all that the runtime does.

    Args:
        model (str): Path of an exported pose model.
        ignore_orientation (bool): Take images as the camera stored them. Default: False.
    """

    def __init__(self, model: str, ignore_orientation: bool = False) -> None:
        super().__init__()
        self.pose = PoseRuntime(model)
        self.ignore_orientation = ignore_orientation

    def forward(self, *args, **kwargs):
        """Refuse to be trained."""
        raise NotImplementedError('exported models are tested alone')

    def test_step(self, data: dict) -> list[PoseDataSample]:
        """Add ``pred_instances`` to a batch's data samples.

        Args:
            data (dict): ``data_samples`` with ``img_path`` and
                ``gt_instances.bboxes`` (N, 4), xyxy in px.
        """
        samples = data['data_samples']
        found = self.pose(
            [read_image(s.img_path, self.ignore_orientation) for s in samples],
            [s.gt_instances.bboxes for s in samples],
        )
        for sample, (keypoints, scores) in zip(samples, found):
            persons = sample.gt_instances
            sample.pred_instances = InstanceData(
                keypoints=keypoints,
                keypoint_scores=scores,
                keypoints_visible=scores,
                bboxes=persons.bboxes,
                bbox_scores=persons.bbox_scores,
            )
        return samples
