"""LPN's heatmap head: grouped deconvolutions and pointwise convolutions."""

from collections.abc import Sequence
from math import gcd

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmpose.models.heads import HeatmapHead
from mmpose.registry import MODELS
from torch import Tensor, nn

# torch before 2.7 says it of compilation and export alike
is_exporting = getattr(torch.compiler, 'is_exporting', torch.compiler.is_compiling)

#: Kernel size of a stride-2 deconvolution to its padding, output padding.
DECONV_PADDING = {4: (1, 0), 3: (1, 1), 2: (0, 0)}


class GroupedDeconv(nn.ConvTranspose2d):
    """A transposed convolution with one output channel per group.

    PyTorch has few fast kernels for such a layer. On CPUs one that doubles
    the size, with a kernel and padding of ``DECONV_PADDING`` and n
    inputs per group is therefore the sum of n depthwise ones, and in training,
    on CUDA too, each of the four phases of their output (even and odd rows and
    columns) a depthwise 3x3 convolution of the input: forward and backward of LPN's
    second, 256 channels at batch 16, 16x16, take 9 instead of 150 ms in
    bfloat16, 9 instead of 22 ms in float32, and a step of
    ``projects/body/configs/on_gpu.py`` on an H200 136 instead of 154 ms in
    bfloat16. The parameters are those of :class:`torch.nn.ConvTranspose2d`.
    """

    #: Whether to do so.
    split = True

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        # phase, tap: pixel 2m + phase of the output takes tap phase + padding - 2d from the
        # input's pixel m + d, for d from -1 to 1
        size, padding = self.kernel_size[0], self.padding[0]
        taps = torch.tensor([[phase + padding - 2 * d for d in (-1, 0, 1)] for phase in (0, 1)])
        taps[(taps < 0) | (taps >= size)] = size  # a zero
        self.register_buffer('taps', taps, persistent=False)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, H', W')."""
        per_group = self.in_channels // self.groups
        size = self.kernel_size[0]
        paddings = tuple((padding,) * 2 for padding in DECONV_PADDING.get(size, ()))
        if (
            not self.split
            or not (x.device.type == 'cpu' or x.device.type == 'cuda' and torch.is_grad_enabled())
            or self.out_channels != self.groups
            or (self.kernel_size, self.stride, self.dilation) != ((size,) * 2, (2, 2), (1, 1))
            or (self.padding, self.output_padding) != paddings
            or output_size is not None
            or torch.jit.is_tracing()
            or is_exporting()
        ):
            return super().forward(x, output_size)
        nhwc = x.is_contiguous(memory_format=torch.channels_last)
        layout = torch.channels_last if nhwc else torch.contiguous_format
        outs = [
            self._depthwise(x[:, i::per_group], self.weight[i::per_group], layout)
            for i in range(per_group)
        ]
        out = sum(outs[1:], outs[0]).contiguous(memory_format=layout)
        return out if self.bias is None else out + self.bias.view(1, -1, 1, 1)

    def _depthwise(self, x: Tensor, weight: Tensor, layout: torch.memory_format) -> Tensor:
        """Map (N, C, H, W) with weights (C, 1, k, k) to (N, C, 2H, 2W)."""
        n, c, h, w = x.shape
        if not torch.is_grad_enabled():
            x = x.contiguous(memory_format=layout)
            return F.conv_transpose2d(
                x, weight, None, self.stride, self.padding, self.output_padding, c
            )
        kernels = self._phase_kernels(weight)
        x = x.contiguous(memory_format=torch.channels_last)
        phases = [
            F.conv2d(x, kernels[:, :, row, :, column], padding=1, groups=c).permute(0, 2, 3, 1)
            for row in (0, 1)
            for column in (0, 1)
        ]
        rows = [torch.stack(pair, dim=3) for pair in (phases[:2], phases[2:])]
        return torch.stack(rows, dim=2).view(n, 2 * h, 2 * w, c).permute(0, 3, 1, 2)

    def _phase_kernels(self, weight: Tensor) -> Tensor:
        """Return (C, 1, 2, 3, 2, 3) kernels: row's phase and tap, column's phase and tap."""
        weight = F.pad(weight, (0, 1, 0, 1))
        return weight[:, :, self.taps][..., self.taps]


@MODELS.register_module()
class LPNHead(HeatmapHead):
    """Heatmap head of the Lightweight Pose Network.

    `Simple and Lightweight Human Pose Estimation
    <https://arxiv.org/abs/1911.10346>`_. A :class:`HeatmapHead` in which each
    deconvolution has ``gcd(in, out)`` groups and is followed by a 1x1
    convolution that mixes the channels; both with norm and ReLU. With the
    default arguments the heatmaps are 4 times as large as the feature map.

    Args:
        in_channels (int): Channels of the last feature map. Default: 512.
        out_channels (int): Number of keypoints K.
        deconv_out_channels (Sequence[int]): Output channels of each
            upsampling step. Default: ``(256, 256)``.
        deconv_kernel_sizes (Sequence[int]): Kernel size of each
            deconvolution, 2, 3 or 4. Default: ``(4, 4)``.
        norm_cfg (dict): Config of the norm layers. Default:
            ``dict(type='BN')``.
        **kwargs: Those of :class:`mmpose.models.heads.HeatmapHead`:
            ``conv_out_channels``, ``conv_kernel_sizes``, ``final_layer``,
            ``loss``, ``decoder``, ``init_cfg``.

    Raises:
        ValueError: If a kernel size is not supported or the two sequences
            differ in length.

    Example:
        >>> import torch
        >>> from lpn_mmpose.models import LPNHead
        >>> self = LPNHead(in_channels=512, out_channels=17)
        >>> tuple(self((torch.rand(1, 512, 16, 12), )).shape)
        (1, 17, 64, 48)
    """

    def __init__(
        self,
        in_channels: int = 512,
        out_channels: int = 17,
        deconv_out_channels: Sequence[int] | None = (256, 256),
        deconv_kernel_sizes: Sequence[int] | None = (4, 4),
        norm_cfg: dict = dict(type='BN'),
        **kwargs,
    ) -> None:
        # before super().__init__, which builds the layers
        self.norm_cfg = norm_cfg
        super().__init__(
            in_channels=in_channels,
            out_channels=out_channels,
            deconv_out_channels=deconv_out_channels,
            deconv_kernel_sizes=deconv_kernel_sizes,
            **kwargs,
        )

    def _make_deconv_layers(
        self, in_channels: int, layer_out_channels: Sequence[int], layer_kernel_sizes: Sequence[int]
    ) -> nn.Module:
        """Create the upsampling steps, two ConvModules each."""
        layers = []
        for out_channels, kernel_size in zip(layer_out_channels, layer_kernel_sizes):
            if kernel_size not in DECONV_PADDING:
                raise ValueError(
                    f'deconv_kernel_sizes must be from '
                    f'{sorted(DECONV_PADDING)}, got {kernel_size!r}'
                )
            padding, output_padding = DECONV_PADDING[kernel_size]
            deconv = ConvModule(
                in_channels,
                out_channels,
                kernel_size,
                stride=2,
                padding=padding,
                groups=gcd(in_channels, out_channels),
                conv_cfg=dict(type=GroupedDeconv, output_padding=output_padding),
                norm_cfg=self.norm_cfg,
            )
            pointwise = ConvModule(out_channels, out_channels, 1, norm_cfg=self.norm_cfg)
            layers += [deconv, pointwise]
            in_channels = out_channels
        return nn.Sequential(*layers)
