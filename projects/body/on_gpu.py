"""Training on a GPU, with little work for the data workers and the main process.

The workers keep the pictures in memory and stack a batch's crops and heatmaps themselves. The
GPU runs the teacher of :mod:`distillation`, and hides, blurs and colours what the student sees.
"""

from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from distillation import TEACHER_KEYS, DistilledPoseEstimator
from mmcv.transforms import BaseTransform
from mmpose.datasets.transforms import LoadImage
from mmpose.models.data_preprocessors import PoseDataPreprocessor
from mmpose.registry import MODELS, TRANSFORMS
from torch import Tensor

from lpn_mmpose.errors import InputError


@TRANSFORMS.register_module()
class LoadImageOnce(LoadImage):
    """:class:`LoadImage` that keeps the decoded pictures in the worker's memory.

    Each worker keeps all pictures that it has had: 2.9 GB of the four data sets here. No later
    transform may change ``img`` in place.
    """

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        self.pictures = {}

    def transform(self, results: dict) -> dict:
        path = results['img_path']
        if path not in self.pictures:
            self.pictures[path] = super().transform(dict(results))['img']
            self.pictures[path].flags.writeable = False
        image = self.pictures[path]
        return dict(results, img=image, img_shape=image.shape[:2], ori_shape=image.shape[:2])


@TRANSFORMS.register_module()
class PackArrays(BaseTransform):
    """Pack one person for ``default_collate``, which stacks a batch in the worker.

    The crop is uint8 (3, h, w) in the pictures' channel order, the heatmaps are float16
    (K, H, W), the weights float32 (K,).
    """

    def transform(self, results: dict) -> dict:
        return dict(
            inputs=np.ascontiguousarray(results['img'].transpose(2, 0, 1)),
            heatmaps=results['heatmaps'].astype(np.float16),
            keypoint_weights=results['keypoint_weights'][0].astype(np.float32),
        )


@MODELS.register_module()
class BatchAugmentation(PoseDataPreprocessor):
    """A data preprocessor that hides, blurs and colours a stacked batch, on its device.

    Batches of :class:`PackArrays` come out with ``data_samples`` that hold the crops as they came,
    for the teacher. Others, those of the evaluation, go the ordinary way.

    Args:
        hide_prob (float): Probability that a rectangle or an ellipse shows another crop of the
            batch. Default: 0.3.
        blur_prob (float): Probability of a lower resolution, 0.3 to 0.8 times the crop's, the same
            for the whole batch. Default: 0.2.
        light_prob (float): Probability of another contrast and brightness. Default: 0.5.
        grey_prob (float): Probability that the colours are lost. Default: 0.1.
        noise_prob (float): Probability of Gaussian noise, with a standard deviation of up to 12 of
            255. Default: 0.2.
        **kwargs: Those of :class:`PoseDataPreprocessor`.
    """

    def __init__(
        self,
        hide_prob: float = 0.3,
        blur_prob: float = 0.2,
        light_prob: float = 0.5,
        grey_prob: float = 0.1,
        noise_prob: float = 0.2,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        self.hide_prob, self.blur_prob, self.light_prob = hide_prob, blur_prob, light_prob
        self.grey_prob, self.noise_prob = grey_prob, noise_prob

    def forward(self, data: dict, training: bool = False) -> dict:
        if 'heatmaps' not in data:
            return super().forward(data, training)
        data = self.cast_data(data)
        crops = data.pop('inputs')
        inputs = self.augment(crops.float())
        inputs = super().forward(dict(inputs=inputs, data_samples=[]), training)['inputs']
        return dict(inputs=inputs, data_samples=dict(data, crops=crops))

    def augment(self, crops: Tensor) -> Tensor:
        """Return changed crops (B, 3, h, w), of values from 0 to 255."""
        height, width = crops.shape[2:]

        def uniform(low: float, high: float) -> Tensor:
            return torch.empty(len(crops), 1, 1, 1, device=crops.device).uniform_(low, high)

        def chosen(prob: float) -> Tensor:
            return uniform(0, 1) < prob

        rows = torch.arange(height, device=crops.device).view(1, 1, -1, 1) / height
        columns = torch.arange(width, device=crops.device).view(1, 1, 1, -1) / width
        far_y = ((rows - uniform(0, 1)) / uniform(0.06, 0.25)).abs()
        far_x = ((columns - uniform(0, 1)) / uniform(0.06, 0.25)).abs()
        inside = (
            torch.where(chosen(0.5), torch.maximum(far_y, far_x), torch.hypot(far_y, far_x)) < 1
        )
        crops = torch.where(inside & chosen(self.hide_prob), crops.roll(1, 0), crops)

        # one resolution a batch
        size = (torch.tensor([height, width]) * np.random.uniform(0.3, 0.8)).int().tolist()
        small = F.interpolate(crops, size, mode='bilinear', antialias=True)
        blurred = F.interpolate(small, (height, width), mode='bilinear')
        crops = torch.where(chosen(self.blur_prob), blurred, crops)

        mean = crops.mean((1, 2, 3), keepdim=True)
        lit = (crops - mean) * uniform(0.6, 1.4) + mean * uniform(0.6, 1.4)
        crops = torch.where(chosen(self.light_prob), lit, crops)
        crops = torch.where(chosen(self.grey_prob), crops.mean(1, keepdim=True), crops)
        noise = torch.randn_like(crops) * uniform(0, 12)
        return torch.where(chosen(self.noise_prob), crops + noise, crops).clamp(0, 255)


@MODELS.register_module()
class DeviceDistilledPoseEstimator(DistilledPoseEstimator):
    """A :class:`DistilledPoseEstimator` whose teacher runs in PyTorch, on its device.

    Args:
        teacher (str): ONNX file, as of :class:`distillation.TeacherFeatures`.
        teacher_size (tuple[int, int]): Width and height, in pixels, that the student's crop is
            resized to for the teacher.
        **kwargs: Those of :class:`DistilledPoseEstimator`.

    Raises:
        InputError: If there is no such file, or no onnx2torch.
    """

    def __init__(self, teacher: str, teacher_size: tuple[int, int], **kwargs) -> None:
        super().__init__(**kwargs)
        if not Path(teacher).is_file():
            raise InputError(f'teacher {teacher} does not exist: movenet_teacher.py makes it')
        if find_spec('onnx2torch') is None:
            raise InputError('the teacher needs onnx2torch: pip install onnx2torch')
        self.teacher, self.teacher_size = teacher, teacher_size

    @cached_property
    def _teacher(self) -> tuple:
        """The teacher, in a tuple: neither trained, nor averaged, nor saved."""
        import onnx
        import onnx2torch

        model = onnx.load(self.teacher)
        for node in model.graph.node:
            if node.op_type == 'Split' and len(node.output) == 1:  # a batch of one, taken apart
                same = onnx.helper.make_node('Identity', node.input[:1], node.output)
                node.CopyFrom(same)
        device = next(self.parameters()).device
        return (onnx2torch.convert(model).eval().requires_grad_(False).to(device),)

    def loss(self, inputs: Tensor, data_samples: dict) -> dict:
        crops = data_samples['crops'].float().flip(1)  # BGR to RGB
        crops = F.interpolate(crops, self.teacher_size[::-1], mode='bilinear')
        with torch.no_grad():
            features = self._teacher[0](crops.permute(0, 2, 3, 1))
        return self.taught_loss(
            inputs,
            data_samples['heatmaps'].float(),
            data_samples['keypoint_weights'],
            dict(zip(TEACHER_KEYS, features)),
        )
