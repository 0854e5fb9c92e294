"""Training on a GPU, with little work for the data workers and the main process.

The workers choose what a crop shows, by MMPose's transforms, without a pixel. The GPU keeps the
pictures, cuts the crops, draws the heatmaps, hides, blurs and colours what the student sees, and
runs the teacher of :mod:`distillation`.
"""

import math
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from distillation import TEACHER_KEYS, DistilledPoseEstimator
from mmcv.transforms import BaseTransform
from mmpose.datasets.transforms import TopdownAffine
from mmpose.models.data_preprocessors import PoseDataPreprocessor
from mmpose.registry import MODELS, TRANSFORMS
from mmpose.structures.bbox import get_warp_matrix
from PIL import Image
from torch import Tensor
from truncation import RandomTruncation

from lpn_mmpose.errors import InputError


@TRANSFORMS.register_module()
class NamePicture(BaseTransform):
    """Give a picture's size, and an ``img`` of that size that takes no memory.

    Added keys: ``img``, ``img_shape``, ``ori_shape``, and ``region``, the (x1, y1, x2, y2) outside
    of which a crop is black.

    Raises:
        InputError: If there is no picture.
    """

    def __init__(self) -> None:
        self.shapes = {}

    def transform(self, results: dict) -> dict:
        path = results['img_path']
        if path not in self.shapes:
            try:
                with Image.open(path) as image:
                    turned = image.getexif().get(274, 1) > 4
                    self.shapes[path] = image.size if turned else image.size[::-1]
            except OSError as error:
                raise InputError(f'{path} cannot be read as an image: {error}') from error
        height, width = shape = self.shapes[path]
        image = np.broadcast_to(np.uint8(0), (*shape, 3))
        region = np.array([0, 0, width, height], np.float32)
        return dict(results, img=image, img_shape=shape, ori_shape=shape, region=region)


@TRANSFORMS.register_module()
class TruncateRegion(RandomTruncation):
    """:class:`RandomTruncation` of ``region``, not of ``img``."""

    def end_picture(self, results: dict, side: int, edge: int) -> None:
        nearer = min if side >= 2 else max
        results['region'][side] = nearer(edge, results['region'][side])


@TRANSFORMS.register_module()
class PackWarp(TopdownAffine):
    """Pack one person for :class:`DeviceCrops`, in place of cropping him.

    ``default_collate`` stacks a batch of these in the worker: the picture's path and ``shape``, its
    height and width, ``region`` (4,), ``warp`` (2, 3) from the crop's pixels to the picture's, and
    the ``keypoints`` (K, 2) in the crop with their ``keypoint_weights`` (K,); float32.

    Args:
        input_size (tuple[int, int]): Width and height of the crop.
    """

    def __init__(self, input_size: tuple[int, int]) -> None:
        super().__init__(input_size)

    def transform(self, results: dict) -> dict:
        results['img'] = []  # of which the parent crops none
        results = super().transform(results)
        rotation = results.get('bbox_rotation', [0.0])[0]
        warp = get_warp_matrix(
            results['input_center'], results['input_scale'], rotation, self.input_size, inv=True
        )
        direction = results.get('flip_direction')
        if direction == 'horizontal':  # the picture itself is not flipped
            warp[0] = [0, 0, results['img_shape'][1] - 1] - warp[0]
        elif direction is not None:
            raise ValueError(f'pictures can be flipped horizontally alone, not {direction}')
        visible = results['keypoints_visible'][0]
        return dict(
            img_path=results['img_path'],
            shape=results['img_shape'],
            region=results['region'],
            warp=warp.astype(np.float32),
            keypoints=results['transformed_keypoints'][0, :, :2].astype(np.float32),
            keypoint_weights=visible.reshape(len(visible), -1).prod(-1).astype(np.float32),
        )


@MODELS.register_module()
class DeviceCrops(PoseDataPreprocessor):
    """A data preprocessor that makes a batch's crops and heatmaps on its device.

    Batches of :class:`PackWarp` come out with ``inputs`` and with ``data_samples`` that hold the
    heatmaps, and larger RGB crops for the teacher. Others, those of the evaluation, go
    the ordinary way.

    Args:
        codec (dict): That of the head, whose heatmaps are drawn.
        teacher_size (tuple[int, int]): Width and height, in pixels, of the teacher's crop.
        megapixels (float): Room for pictures on the device, of 4 bytes a pixel.
        hide_prob (float): Probability that a rectangle or an ellipse shows another crop of the
            batch. Default: 0.3.
        blur_prob (float): Probability of a lower resolution, 0.3, 0.5 or 0.75 times the crop's.
            Default: 0.2.
        light_prob (float): Probability of another contrast, brightness and balance of the colours.
            Default: 0.5.
        grey_prob (float): Probability that the colours are lost. Default: 0.1.
        noise_prob (float): Probability of Gaussian noise, with a standard deviation of up to 12 of
            255. Default: 0.2.
        **kwargs: Those of :class:`PoseDataPreprocessor`.
    """

    def __init__(
        self,
        codec: dict,
        teacher_size: tuple[int, int],
        megapixels: float,
        hide_prob: float = 0.3,
        blur_prob: float = 0.2,
        light_prob: float = 0.5,
        grey_prob: float = 0.1,
        noise_prob: float = 0.2,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        self.input_size, self.heatmap_size = codec['input_size'], codec['heatmap_size']
        self.sigma, self.teacher_size = codec['sigma'], teacher_size
        self.room = int(megapixels * 1e6)
        self.hide_prob, self.blur_prob, self.light_prob = hide_prob, blur_prob, light_prob
        self.grey_prob, self.noise_prob = grey_prob, noise_prob
        self.places, self.used = {}, 0

    @cached_property
    def _pixels(self) -> tuple[Tensor]:
        """All pictures' pixels, BGR and a byte that is not used, in a tuple: not averaged."""
        return (torch.empty(self.room, 4, dtype=torch.uint8, device=self.device),)

    def place(self, data: dict) -> dict:
        """Return a batch of :class:`PackWarp` on the device, with ``start`` and ``width`` (B,).

        Raises:
            InputError: If a picture cannot be read, or is of another size than its file's head says,
                or there is no room for it.
        """
        paths = data['img_path']
        shapes = dict(zip(paths, torch.stack(data['shape'], dim=-1).tolist()))
        new = [path for path in shapes if path not in self.places]
        with ThreadPoolExecutor() as pool:
            for path, image in zip(new, pool.map(cv2.imread, new)):
                if image is None or list(image.shape[:2]) != shapes[path]:
                    raise InputError(f'{path} cannot be read as an image of {shapes[path]}')
                height, width = shapes[path]
                end = self.used + height * width
                if end > self.room:
                    raise InputError(f'no room for {path}: raise megapixels')
                pixels = torch.from_numpy(cv2.cvtColor(image, cv2.COLOR_BGR2BGRA))
                self._pixels[0][self.used : end] = pixels.view(-1, 4).to(self.device)
                self.places[path], self.used = (self.used, width), end
        start, width = torch.tensor([self.places[path] for path in paths]).T
        data = dict(data, start=start.contiguous(), width=width.contiguous())
        del data['img_path'], data['shape']
        return self.cast_data(data)

    def forward(self, data: dict, training: bool = False) -> dict:
        if 'warp' not in data:
            return super().forward(data, training)
        data = self.place(data)
        crops = self.crop(data, self.input_size)
        heatmaps, weights = self.draw(data['keypoints'], data['keypoint_weights'])
        inputs = dict(inputs=self.augment(crops), data_samples=[])
        inputs = super().forward(inputs, training)['inputs']
        crops = self.crop(data, self.teacher_size).flip(1)  # RGB
        labels = dict(crops=crops, heatmaps=heatmaps, keypoint_weights=weights)
        return dict(inputs=inputs, data_samples=labels)

    def crop(self, data: dict, size: tuple[int, int]) -> Tensor:
        """Return crops (B, 3, h, w), BGR from 0 to 255, as :class:`TopdownAffine` cuts them.

        Args:
            data (dict): Of :meth:`place`.
            size (tuple[int, int]): Width and height.
        """
        width, height = size
        columns = torch.arange(width, device=self.device) * (self.input_size[0] / width)
        rows = torch.arange(height, device=self.device)[:, None] * (self.input_size[1] / height)
        # (B, 1, 1) each
        xx, xy, x0, yx, yy, y0 = data['warp'].flatten(1).T[..., None, None]
        left, top, right, bottom = data['region'].T[..., None, None]
        start, stride = (data[key][:, None, None] for key in ('start', 'width'))
        x, y = xx * columns + xy * rows + x0, yx * columns + yy * rows + y0
        crops = 0
        for x_tap, y_tap in ((0, 0), (0, 1), (1, 0), (1, 1)):
            column, row = x.floor() + x_tap, y.floor() + y_tap
            inside = (column >= left) & (column < right) & (row >= top) & (row < bottom)
            share = (1 - (x - column).abs()) * (1 - (y - row).abs()) * inside
            place = torch.where(inside, start + row.long() * stride + column.long(), start)
            pixels = self._pixels[0].view(torch.int32)[place]  # (B, h, w, 1)
            crops = crops + pixels.view(torch.uint8)[..., :3] * share[..., None]
        return crops.permute(0, 3, 1, 2)

    def draw(self, keypoints: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Return the heatmaps (B, K, H, W) of the codec, and the weights of those not empty."""
        sides = []
        for i, side in enumerate(self.heatmap_size):
            center = (keypoints[..., i, None] * (side / self.input_size[i]) + 0.5).floor()
            far = torch.arange(side, device=self.device) - center
            near = far.abs() <= math.ceil(3 * self.sigma)
            sides.append(near * (-(far**2) / (2 * self.sigma**2)).exp())
        columns, rows = sides
        weights = weights * rows.any(-1) * columns.any(-1)
        return rows[..., None] * columns[:, :, None] * weights[..., None, None], weights

    def augment(self, crops: Tensor) -> Tensor:
        """Return changed crops (B, 3, h, w), of values from 0 to 255."""
        height, width = crops.shape[2:]

        def uniform(low: float, high: float, channels: int = 1) -> Tensor:
            shape = (len(crops), channels, 1, 1)
            return torch.empty(shape, device=crops.device).uniform_(low, high)

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

        lower, sharp = uniform(0, 1), crops
        for i, scale in enumerate((0.3, 0.5, 0.75)):
            size = (int(height * scale), int(width * scale))
            small = F.interpolate(sharp, size, mode='bilinear', antialias=True)
            blurred = F.interpolate(small, (height, width), mode='bilinear')
            crops = torch.where(lower * 3 < self.blur_prob * (3 - i), blurred, crops)

        mean = crops.mean((1, 2, 3), keepdim=True)
        light = uniform(0.6, 1.4) * uniform(0.85, 1.15, channels=3)
        lit = (crops - mean) * uniform(0.6, 1.4) + mean * light
        crops = torch.where(chosen(self.light_prob), lit, crops)
        crops = torch.where(chosen(self.grey_prob), crops.mean(1, keepdim=True), crops)
        noise = torch.randn_like(crops) * uniform(0, 12)
        return torch.where(chosen(self.noise_prob), crops + noise, crops).clamp(0, 255)


@MODELS.register_module()
class DeviceDistilledPoseEstimator(DistilledPoseEstimator):
    """A :class:`DistilledPoseEstimator` whose teacher runs in PyTorch, on its device.

    Its data preprocessor is :class:`DeviceCrops`.

    Args:
        teacher (str): ONNX file, as of :class:`distillation.TeacherFeatures`.
        **kwargs: Those of :class:`DistilledPoseEstimator`.

    Raises:
        InputError: If there is no such file, or no onnx2torch.
        ValueError: If the data preprocessor's heatmaps are not those of the head.
    """

    def __init__(self, teacher: str, **kwargs) -> None:
        super().__init__(**kwargs)
        if not Path(teacher).is_file():
            raise InputError(f'teacher {teacher} does not exist: movenet_teacher.py makes it')
        if find_spec('onnx2torch') is None:
            raise InputError('the teacher needs onnx2torch: pip install onnx2torch')
        made, found = (
            (*part.input_size, *part.heatmap_size, part.sigma)  # lists or tuples
            for part in (self.data_preprocessor, self.head.decoder)
        )
        if made != found:
            raise ValueError(f'heatmaps are {made} in the data preprocessor, {found} in the head')
        self.teacher = teacher

    @cached_property
    def _teacher(self) -> tuple:
        """The teacher, in a tuple: neither trained, nor averaged, nor saved."""
        import onnx
        import onnx2torch
        from onnx2torch.node_converters.resize import OnnxResize

        model = onnx.load(self.teacher)
        for node in model.graph.node:
            if node.op_type == 'Split' and len(node.output) == 1:  # a batch of one, taken apart
                same = onnx.helper.make_node('Identity', node.input[:1], node.output)
                node.CopyFrom(same)
        teacher = onnx2torch.convert(model).eval().requires_grad_(False)
        teacher.to(next(self.parameters()).device, memory_format=torch.channels_last)
        modules = dict(teacher.named_modules())
        for node in teacher.graph.nodes:
            if type(modules.get(node.target)) is OnnxResize:
                for constant in node.args[1:]:  # its scales: Python reads them
                    module, name = constant.target.split('.')
                    buffers = getattr(teacher, module)._buffers
                    buffers[name] = buffers[name].cpu()
        return (teacher,)

    def loss(self, inputs: Tensor, data_samples: dict) -> dict:
        with torch.no_grad():
            features = self._teacher[0](data_samples['crops'].permute(0, 2, 3, 1))
        return self.taught_loss(
            inputs,
            data_samples['heatmaps'],
            data_samples['keypoint_weights'],
            dict(zip(TEACHER_KEYS, features)),
        )
