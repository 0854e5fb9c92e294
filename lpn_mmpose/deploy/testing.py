"""Exported models in the place of trained ones, for ``tools/test.py``."""

import mmcv
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData
from mmpose.registry import DATASETS, MODELS
from mmpose.structures import PoseDataSample

from ..errors import InputError
from ..runtime import PoseRuntime
from ..runtime.engines import load_engine


@MODELS.register_module()
class ExportedPoseEstimator(BaseModel):
    """An exported model that a runner tests.

    It reads the images of the data samples itself and gives them, with their
    boxes, to the :class:`~lpn_mmpose.runtime.PoseRuntime`, so that a test is
    one of all that the runtime does.

    Args:
        model (str): Path of an exported pose model.
    """

    def __init__(self, model: str) -> None:
        super().__init__()
        self.pose = PoseRuntime(model)

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
            [mmcv.imread(s.img_path) for s in samples], [s.gt_instances.bboxes for s in samples]
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


def use_exported(cfg: Config, path: str) -> None:
    """Let a config's test be one of an exported model.

    Args:
        cfg (Config): The config, changed in place.
        path (str): An exported pose model.

    Raises:
        InputError: If it cannot be used, or finds other keypoints than the
            test data have.
    """
    names = load_engine(path, 'pose').meta.keypoint_names
    with DefaultScope.overwrite_default_scope('mmpose'):
        dataset = cfg.test_dataloader.dataset
        meta = DATASETS.build({**dataset, 'lazy_init': True}).metainfo
    wanted = (
        [meta['keypoint_id2name'][i] for i in range(len(names))]
        if len(names) == meta['num_keypoints']
        else []
    )
    if list(names) != wanted:
        raise InputError(
            f'model {path} finds {len(names)} keypoints ({names[0]}, ...), '
            f'and the test data of {cfg.filename} have '
            f'{meta["num_keypoints"]} ({meta["keypoint_id2name"][0]}, ...)'
        )
    cfg.model = dict(type='ExportedPoseEstimator', model=path)
    cfg.load_from = None
    # it averages weights, of which there are none here
    cfg.custom_hooks = [hook for hook in cfg.get('custom_hooks') or [] if hook['type'] != 'EMAHook']
