"""Distillation of a teacher's feature maps into a pose estimator, in training.

The data workers run the teacher, an ONNX file, on the crop that the student sees, at
a size of the teacher's (:mod:`on_gpu` runs it on a GPU); a linear layer for each of two
feature maps of the student learns to say what the teacher's are.
"""

from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from mmpose.datasets.transforms import PackPoseInputs, TopdownAffine
from mmpose.models.pose_estimators import TopdownPoseEstimator
from mmpose.registry import MODELS, TRANSFORMS
from torch import Tensor, nn

from lpn_mmpose.errors import InputError

#: What the transforms and the estimator call the teacher's feature maps.
TEACHER_KEYS = ('teacher_deep', 'teacher_fine')


@TRANSFORMS.register_module()
class TeacherFeatures(TopdownAffine):
    """Add the teacher's feature maps of a person's crop; before :class:`TopdownAffine`.

    Args:
        model (str): ONNX file with the outputs ``deep`` (1, C, h, w) and ``fine``
            (1, C', H, W), as ``movenet_teacher.py`` makes it. It takes an RGB image
            (1, height, width, 3), int32.
        input_size (tuple[int, int]): Width and height, in pixels, of the teacher's crop;
            multiples of 32, in the student's ratio. Default: ``(256, 256)``.

    Raises:
        InputError: If there is no such file.
        ValueError: If ``input_size`` is no multiple of 32.
    """

    def __init__(self, model: str, input_size: tuple[int, int] = (256, 256)) -> None:
        super().__init__(input_size=input_size)
        if any(side % 32 for side in input_size):
            raise ValueError(f"the teacher's input_size must be multiples of 32, got {input_size}")
        if not Path(model).is_file():
            raise InputError(f'teacher {model} does not exist: movenet_teacher.py makes it')
        self.model = model

    @cached_property
    def request(self):
        """The teacher, loaded in the worker; bfloat16 where the CPU computes in it."""
        import openvino

        core = openvino.Core()
        teacher = core.read_model(self.model)
        teacher.reshape([1, *self.input_size[::-1], 3])
        compiled = core.compile_model(
            teacher, 'CPU', {'INFERENCE_NUM_THREADS': 1, 'NUM_STREAMS': 1}
        )
        return compiled.create_infer_request()

    def transform(self, results: dict) -> dict:
        keys = ('img', 'bbox_center', 'bbox_scale', 'bbox_rotation')
        crop = super().transform({key: results[key] for key in keys if key in results})['img']
        outputs = self.request.infer({0: crop[None, ..., ::-1].astype(np.int32)})
        for index, key in enumerate(TEACHER_KEYS):
            results[key] = outputs[index].astype(np.float16)
        return results


@TRANSFORMS.register_module()
class PackTeacherInputs(PackPoseInputs):
    """:class:`PackPoseInputs` that packs the teacher's feature maps as well."""

    def transform(self, results: dict) -> dict:
        table = dict(results['label_mapping_table'], **dict(zip(TEACHER_KEYS, TEACHER_KEYS)))
        return super().transform(dict(results, label_mapping_table=table))


@MODELS.register_module()
class DistilledPoseEstimator(TopdownPoseEstimator):
    """A top-down estimator with a head of deconvolutions that also learns a teacher's features.

    The backbone's last feature map is compared with ``teacher_deep``, the
    input of the head's last layer with ``teacher_fine``. The teacher's channels are
    normalized over the batch, so that the loss of a map is 1 when nothing is known. A
    student's map of another size is resized to the teacher's.

    Args:
        deep_channels (tuple[int, int]): Of the student and the teacher.
        fine_channels (tuple[int, int]): Of the student and the teacher.
        hint_weight (float): Weight of each of the two losses.
        **kwargs: Those of :class:`TopdownPoseEstimator`.
    """

    def __init__(
        self,
        deep_channels: tuple[int, int],
        fine_channels: tuple[int, int],
        hint_weight: float,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        self.hint_weight = hint_weight
        channels = dict(zip(TEACHER_KEYS, (deep_channels, fine_channels)))
        self.hints = nn.ModuleDict(
            {key: nn.Conv2d(*pair, kernel_size=1) for key, pair in channels.items()}
        )

    def loss(self, inputs: Tensor, data_samples: list) -> dict:
        labels = [sample.gt_instance_labels for sample in data_samples]
        return self.taught_loss(
            inputs,
            torch.stack([sample.gt_fields.heatmaps for sample in data_samples]),
            torch.cat([label.keypoint_weights for label in labels]),
            {key: torch.cat([label[key] for label in labels]) for key in TEACHER_KEYS},
        )

    def taught_loss(
        self, inputs: Tensor, heatmaps: Tensor, keypoint_weights: Tensor, teacher: dict
    ) -> dict:
        """Compute the losses of a batch.

        Args:
            inputs (Tensor): Normalized images (B, 3, h, w).
            heatmaps (Tensor): Targets (B, K, H, W).
            keypoint_weights (Tensor): (B, K).
            teacher (dict): The teacher's feature maps, by :data:`TEACHER_KEYS`.

        Returns:
            dict: ``loss_kpt`` and a loss for each feature map.
        """
        feats = self.extract_feat(inputs)
        maps = {TEACHER_KEYS[0]: feats[-1]}
        with self.head.final_layer.register_forward_pre_hook(
            lambda _, args: maps.update({TEACHER_KEYS[1]: args[0]})
        ):
            predicted = self.head(feats)
        losses = dict(loss_kpt=self.head.loss_module(predicted, heatmaps, keypoint_weights))
        for key, hint in self.hints.items():
            target = F.batch_norm(teacher[key].float(), None, None, training=True)
            found = F.interpolate(hint(maps[key]).float(), target.shape[2:], mode='bilinear')
            losses[f'loss_{key}'] = self.hint_weight * F.mse_loss(found, target)
        return losses
