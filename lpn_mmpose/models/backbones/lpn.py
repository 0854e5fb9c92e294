"""LPN backbone: a ResNet of depthwise bottlenecks with output stride 16."""

from collections.abc import Sequence

import torch
import torch.utils.checkpoint as cp
from mmcv.cnn import ConvModule
from mmcv.cnn.bricks import ContextBlock
from mmengine.model import Sequential
from mmpose.models.backbones.base_backbone import BaseBackbone
from mmpose.registry import MODELS
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

#: Channels of the narrowest bottleneck inside the attention blocks.
MIN_ATTENTION_CHANNELS = 16
ATTENTION_REDUCTION = 16


class BiasFreeSELayer(nn.Module):
    """Squeeze-and-excitation without biases, as LPN's original code has it.

    :class:`mmpose.models.backbones.utils.SELayer` always has biases, so the
    original's SE weights would not fit it.

    Args:
        channels (int): Input (and output) channels C.
        hidden_channels (int): Channels of the squeezed vector.
    """

    def __init__(self, channels: int, hidden_channels: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Sequential(
            nn.Linear(channels, hidden_channels, bias=False),
            nn.ReLU(inplace=True),
            nn.Linear(hidden_channels, channels, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Scale ``x`` of shape (N, C, H, W) channel by channel."""
        scale = self.fc(self.pool(x).flatten(1))
        return x * scale[..., None, None]


def build_attention(attention: str | None, channels: int) -> nn.Module:
    """Return the attention module of a block with ``channels`` outputs.

    Args:
        attention (str, optional): ``'GC'``, ``'SE'`` or ``None``.
        channels (int): Output channels of the block.
    """
    hidden = max(channels // ATTENTION_REDUCTION, MIN_ATTENTION_CHANNELS)
    if attention == 'GC':
        return ContextBlock(channels, ratio=hidden / channels)
    if attention == 'SE':
        return BiasFreeSELayer(channels, hidden)
    return nn.Identity()


class LightweightBottleneck(nn.Module):
    """LPN's bottleneck: 1x1, depthwise 3x3, 1x1, attention, shortcut.

    Args:
        in_channels (int): Input channels.
        out_channels (int): Output channels, also those inside the block.
        stride (int): Stride of the depthwise convolution and the shortcut.
        attention (str, optional): ``'GC'``, ``'SE'`` or ``None``.
        conv_cfg (dict, optional): Config of the convolutions.
        norm_cfg (dict): Config of the norm layers.
        with_cp (bool): Whether to trade compute for memory by checkpointing.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        attention: str | None = 'GC',
        conv_cfg: dict | None = None,
        norm_cfg: dict = dict(type='BN'),
        with_cp: bool = False,
    ) -> None:
        super().__init__()
        common = dict(conv_cfg=conv_cfg, norm_cfg=norm_cfg)
        self.with_cp = with_cp
        self.conv1 = ConvModule(in_channels, out_channels, 1, **common)
        self.conv2 = ConvModule(
            out_channels, out_channels, 3, stride=stride, padding=1, groups=out_channels, **common
        )
        self.conv3 = ConvModule(out_channels, out_channels, 1, act_cfg=None, **common)
        self.attention = build_attention(attention, out_channels)
        self.downsample = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = ConvModule(
                in_channels, out_channels, 1, stride=stride, act_cfg=None, **common
            )
        self.relu = nn.ReLU(inplace=True)

    def init_weights(self) -> None:
        """Make global context an identity again, after LPN's ``init_cfg``."""
        if isinstance(self.attention, ContextBlock):
            self.attention.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, H/s, W/s)."""

        def residual(x: Tensor) -> Tensor:
            out = self.attention(self.conv3(self._depthwise(self.conv1(x))))
            return out + (x if self.downsample is None else self.downsample(x))

        if self.with_cp and x.requires_grad:
            out = cp.checkpoint(residual, x, use_reentrant=False)
        else:
            out = residual(x)
        return self.relu(out)

    def _depthwise(self, x: Tensor) -> Tensor:
        """Map (N, out_channels, H, W) to (N, out_channels, H/s, W/s)."""
        if self.conv2.conv.stride == (1, 1) or x.device.type != 'cpu' or x.dtype != torch.bfloat16:
            return self.conv2(x)
        # a strided depthwise convolution goes back ten times slower in bfloat16 than in float32
        with torch.autocast('cpu', enabled=False):
            return self.conv2(x.to(self.conv2.conv.weight.dtype))


@MODELS.register_module()
class LPN(BaseBackbone):
    """Backbone of the Lightweight Pose Network.

    `Simple and Lightweight Human Pose Estimation
    <https://arxiv.org/abs/1911.10346>`_: SimpleBaseline's ResNet with
    depthwise 3x3 convolutions, expansion 1, a global-context block in every
    bottleneck, and no downsampling in the last stage, so that the output
    stride is 16.

    Args:
        depth (int): Network depth, from {50, 101, 152}.
        in_channels (int): Number of input image channels. Default: 3.
        attention (str, optional): Attention in every bottleneck: ``'GC'``
            (global context, the original's default), ``'SE'``
            (squeeze-and-excitation) or ``None``. Default: ``'GC'``.
        out_indices (Sequence[int]): Stages (0 to 3) whose outputs are
            returned. Default: ``(3, )``.
        frozen_stages (int): Stages to be frozen (stop grad and set eval mode);
            0 freezes the stem alone. -1 means not freezing any parameters.
            Default: -1.
        conv_cfg (dict, optional): Config of the convolutions. Default: None.
        norm_cfg (dict): Config of the norm layers. Default:
            ``dict(type='BN')``.
        norm_eval (bool): Whether to set norm layers to eval mode, namely,
            freeze running stats (mean and var). Default: False.
        with_cp (bool): Use checkpoint or not. Using checkpoint will save some
            memory while slowing down the training speed. Default: False.
        init_cfg (dict or list[dict], optional): Initialization config. The
            default is the original's: convolutions from N(0, 0.001), norm
            layers at 1. ``None`` keeps ``ConvModule``'s Kaiming.

    Raises:
        ValueError: If ``depth``, ``attention``, ``out_indices`` or
            ``frozen_stages`` is not one of those above.

    Example:
        >>> import torch
        >>> from lpn_mmpose.models import LPN
        >>> self = LPN(depth=50, out_indices=(0, 1, 2, 3))
        >>> for level in self(torch.rand(1, 3, 256, 192)):
        ...     print(tuple(level.shape))
        (1, 64, 64, 48)
        (1, 128, 32, 24)
        (1, 256, 16, 12)
        (1, 512, 16, 12)
    """

    stage_blocks = {
        50: (3, 4, 6, 3),
        101: (3, 4, 23, 3),
        152: (3, 8, 36, 3),
    }
    stage_channels = (64, 128, 256, 512)
    stage_strides = (1, 2, 2, 1)

    def __init__(
        self,
        depth: int,
        in_channels: int = 3,
        attention: str | None = 'GC',
        out_indices: Sequence[int] = (3,),
        frozen_stages: int = -1,
        conv_cfg: dict | None = None,
        norm_cfg: dict = dict(type='BN'),
        norm_eval: bool = False,
        with_cp: bool = False,
        init_cfg=[
            dict(type='Normal', layer='Conv2d', std=0.001),
            dict(type='Constant', val=1, layer=['_BatchNorm', 'GroupNorm']),
        ],
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if depth not in self.stage_blocks:
            raise ValueError(f'depth must be one of {list(self.stage_blocks)}, got {depth!r}')
        if attention not in ('GC', 'SE', None):
            raise ValueError(f"attention must be 'GC', 'SE' or None, got {attention!r}")
        num_stages = len(self.stage_channels)
        if not out_indices or not all(i in range(num_stages) for i in out_indices):
            raise ValueError(
                f'out_indices must be stages from 0 to {num_stages - 1}, got {out_indices!r}'
            )
        if frozen_stages not in range(-1, num_stages + 1):
            raise ValueError(
                f'frozen_stages must be from -1 to {num_stages}, got {frozen_stages!r}'
            )
        self.depth = depth
        self.out_indices = out_indices
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval

        channels = self.stage_channels[0]
        self.stem = ConvModule(
            in_channels, channels, 7, stride=2, padding=3, conv_cfg=conv_cfg, norm_cfg=norm_cfg
        )
        # BaseModule would let ConvModule's Kaiming override init_cfg
        self.stem.is_init = True
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.layers = []
        for i, (blocks, out_channels, stride) in enumerate(
            zip(self.stage_blocks[depth], self.stage_channels, self.stage_strides)
        ):
            layer = Sequential()
            for j in range(blocks):
                layer.append(
                    LightweightBottleneck(
                        channels,
                        out_channels,
                        stride=stride if j == 0 else 1,
                        attention=attention,
                        conv_cfg=conv_cfg,
                        norm_cfg=norm_cfg,
                        with_cp=with_cp,
                    )
                )
                channels = out_channels
            self.add_module(f'layer{i + 1}', layer)
            self.layers.append(f'layer{i + 1}')
        self._freeze_stages()

    def _freeze_stages(self) -> None:
        if self.frozen_stages < 0:
            return
        names = ['stem'] + self.layers[: self.frozen_stages]
        for name in names:
            module = getattr(self, name)
            module.eval()
            for param in module.parameters():
                param.requires_grad = False

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute the feature maps of the stages in ``out_indices``.

        Args:
            x (Tensor): Images in shape (N, in_channels, H, W).

        Returns:
            tuple[Tensor]: One map a stage; the last stage's has shape
            (N, 512, H/16, W/16).
        """
        x = self.maxpool(self.stem(x))
        outs = []
        for i, name in enumerate(self.layers):
            x = getattr(self, name)(x)
            if i in self.out_indices:
                outs.append(x)
        return tuple(outs)

    def train(self, mode: bool = True) -> 'LPN':
        """Set the mode, keeping frozen stages and norm layers in eval."""
        super().train(mode)
        self._freeze_stages()
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self
