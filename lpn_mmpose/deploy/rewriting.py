"""LPN's layers in the form that inference engines run fast.

Only the exporter uses these modules. Each computes what the trained module
computes, up to floating-point rounding; :mod:`lpn_mmpose.deploy.export`
checks every export against the trained model. docs/performance.md has what
each rewriting gains.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule, fuse_conv_bn
from mmcv.cnn.bricks import ContextBlock
from mmengine.model import revert_sync_batchnorm
from torch import Tensor, nn

from ..models.backbones.lpn import LPN, BiasFreeSELayer, LightweightBottleneck
from ..models.heads.lpn_head import LPNHead


@dataclass(frozen=True)
class GraphStyle:
    """The forms of a graph that suit an engine.

    Args:
        pooling (str): How attention pools. ``'matmul'``: two products of
            matrices, channels by pixels. ``'rows'``: one, pixels by channels,
            which is how ONNX Runtime's int8 kernels lay maps out. ``'sum'``:
            a weighted sum, which keeps OpenVINO's blocked layout.
        addition (str): How its vector is added. ``'map'``: enlarged to a map,
            since ONNX Runtime's blocked float32 layout has the sum of two
            maps but not of a map and a vector. ``'vector'``: as it is.
        joining (str): How phases become one map. ``'stack'``: columns, then
            rows, are laid side by side, and ``'stack-rows'`` does so pixels
            by channels; both take a quarter of the time of ONNX Runtime's
            pixel shuffle. ``'shuffle'``: a pixel shuffle.
    """

    pooling: str
    addition: str
    joining: str


#: The styles by what runs the graph.
STYLES = {
    'onnxruntime': GraphStyle('matmul', 'map', 'stack'),
    'onnxruntime-int8': GraphStyle('rows', 'vector', 'stack-rows'),
    'openvino': GraphStyle('sum', 'vector', 'shuffle'),
}


def _conv2d(weight: Tensor, bias: Tensor = None, **kwargs) -> nn.Conv2d:
    """Return a convolution that has these weights."""
    groups = kwargs.get('groups', 1)
    conv = nn.Conv2d(
        weight.shape[1] * groups, weight.shape[0], weight.shape[2:], bias=bias is not None, **kwargs
    )
    conv.weight.data = weight.detach().clone().contiguous()
    if bias is not None:
        conv.bias.data = bias.detach().clone()
    return conv


def _behind(conv: nn.Conv2d, pointwise: nn.Conv2d) -> nn.Conv2d:
    """Return ``conv`` after ``pointwise``, both 1x1, as one convolution."""
    weight = conv.weight.flatten(1)
    bias = weight @ pointwise.bias
    if conv.bias is not None:
        bias = bias + conv.bias
    return _conv2d((weight @ pointwise.weight.flatten(1))[..., None, None], bias)


def _linear(layer: nn.Module) -> nn.Module:
    """Return a layer of maps (N, C, 1, 1) as one of vectors (N, C)."""
    if isinstance(layer, nn.Conv2d):
        linear = nn.Linear(layer.in_channels, layer.out_channels)
        linear.weight.data = layer.weight.detach().flatten(1)
        linear.bias.data = layer.bias.detach().clone()
        return linear
    if isinstance(layer, nn.LayerNorm):
        norm = nn.LayerNorm(layer.weight.numel(), layer.eps)
        norm.weight.data = layer.weight.detach().flatten()
        norm.bias.data = layer.bias.detach().flatten()
        return norm
    return layer


class _KeepBatch(torch.autograd.Function):
    """Reshape with the batch dimension kept, by its ONNX name.

    With -1 for it, ONNX Runtime no longer knows that the result has the
    input's batch, and gives up its fused sums.
    """

    @staticmethod
    def forward(ctx, x: Tensor, shape: Sequence[int]) -> Tensor:
        return x.reshape(-1, *shape)

    @staticmethod
    def symbolic(g, x, shape: Sequence[int]):
        # torch's own shape inference asks for a -1 beside the 0
        shape = torch.tensor([0, *shape[:-1], -1])
        shape = g.op('Constant', value_t=shape)
        return g.op('Reshape', x, shape)


def keep_batch(x: Tensor, *shape: int) -> Tensor:
    r"""Reshape (N, ...) to (N, \*shape), and keep the name of N in ONNX.

    Args:
        x (Tensor): Of any number of dimensions.
        shape (int): The other dimensions of the result.
    """
    if torch.onnx.is_in_onnx_export():
        return _KeepBatch.apply(x, shape)
    return x.reshape(-1, *shape)


class _Shuffle(torch.autograd.Function):
    """Pixel shuffle of whole phases, one behind the other.

    PyTorch's takes the phases of a channel together, which OpenVINO shuffles
    in another layout than that of its convolutions.
    """

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        x = x.reshape(batch, 2, 2, channels // 4, height, width)
        return x.permute(0, 3, 4, 1, 5, 2).reshape(batch, channels // 4, 2 * height, 2 * width)

    @staticmethod
    def symbolic(g, x):
        return g.op('DepthToSpace', x, blocksize_i=2, mode_s='DCR')


def _shuffle(x: Tensor) -> Tensor:
    """Lay phases (N, 4 C, H, W) out as (N, C, 2 H, 2 W)."""
    if torch.onnx.is_in_onnx_export():
        return _Shuffle.apply(x)
    return _Shuffle.forward(None, x)


class InferenceAttention(nn.Module):
    """The vector of a block's attention, ahead of the last convolution.

    See :class:`InferenceBottleneck`.

    Args:
        attention (nn.Module): ``ContextBlock`` or ``BiasFreeSELayer``.
        conv3 (nn.Conv2d): The block's last convolution.
        pooling (str): See :class:`GraphStyle`.
    """

    #: The child that is quantized; pooling is no faster in int8.
    quantized = 'fc'

    def __init__(self, attention: nn.Module, conv3: nn.Conv2d, pooling: str) -> None:
        super().__init__()
        self.pooling = 'mean'
        if isinstance(attention, ContextBlock):
            self.pooling = pooling
            # softmax does not see the constant that the biases add
            self.mask = _conv2d(_behind(attention.conv_mask, conv3).weight)
            layers = list(attention.channel_add_conv)
        else:
            layers = [
                _conv2d(layer.weight[..., None, None]) if isinstance(layer, nn.Linear) else layer
                for layer in attention.fc
            ]
        layers[0] = _behind(layers[0], conv3)
        if self.pooling in ('matmul', 'rows'):
            # the last one stays: ONNX Runtime enlarges behind a convolution
            # in its blocked layout
            layers[:-1] = map(_linear, layers[:-1])
        self.fc = nn.Sequential(*layers)

    @property
    def last(self) -> nn.Conv2d:
        """The convolution that the vector's channels come from."""
        return [m for m in self.fc if isinstance(m, nn.Conv2d)][-1]

    def forward(self, y: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C', 1, 1)."""
        if self.pooling == 'mean':
            return self.fc(F.adaptive_avg_pool2d(y, 1))
        _, channels, height, width = map(int, y.shape)
        if self.pooling == 'matmul':
            flat = keep_batch(y, channels, height * width)
            weights = F.softmax(self.mask.weight.flatten(1) @ flat, dim=-1)
            flat = flat.transpose(1, 2)
        else:
            weights = F.softmax(keep_batch(self.mask(y), 1, height * width), dim=-1)
            if self.pooling == 'sum':
                weights = keep_batch(weights, 1, height, width)
                return self.fc((y * weights).sum((2, 3), keepdim=True))
            flat = keep_batch(y.permute(0, 2, 3, 1), height * width, channels)
        hidden = self.fc[:-1](keep_batch(weights @ flat, channels))
        return self.fc[-1](keep_batch(hidden, int(hidden.shape[1]), 1, 1))


class InferenceBottleneck(nn.Module):
    r"""A :class:`LightweightBottleneck` whose attention looks ahead.

    Attention pools the output of the block's last convolution
    :math:`W y + b`. The pooling weights :math:`m` add up to 1, so that
    :math:`\sum m (W y + b) = W \sum m y + b`: here it pools :math:`y`, with
    :math:`W` multiplied into the attention's own small matrices. Thus
    nothing stands any more between the convolution and the shortcut's sum,
    and engines fuse the two and the ReLU into one kernel.

    Args:
        block (LightweightBottleneck): The block, batch norms folded.
        style (GraphStyle): One of :data:`STYLES`.
    """

    def __init__(self, block: LightweightBottleneck, style: GraphStyle) -> None:
        super().__init__()
        self.addition = style.addition
        self.conv1, self.conv2 = block.conv1, block.conv2
        self.conv3 = block.conv3.conv
        self.downsample = block.downsample
        self.attention = None
        if not isinstance(block.attention, nn.Identity):
            self.attention = InferenceAttention(block.attention, self.conv3, style.pooling)
        self.scales = isinstance(block.attention, BiasFreeSELayer)

    @staticmethod
    def supports(block: LightweightBottleneck) -> bool:
        """Whether the block's norm layers are folded and it is LPN's own."""
        folded = (
            not isinstance(block.conv3.norm, nn.modules.batchnorm._NormBase)
            and block.conv3.conv.bias is not None
        )
        return folded and isinstance(block.attention, (ContextBlock, BiasFreeSELayer, nn.Identity))

    def _enlarged(self, vector: Tensor, like: Tensor) -> Tensor:
        """Bring (N, C, 1, 1) to the form in which it is added."""
        if self.addition == 'vector':
            return vector
        return F.interpolate(vector, scale_factor=tuple(map(float, like.shape[2:])))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, H/s, W/s)."""
        y = self.conv2(self.conv1(x))
        shortcut = x if self.downsample is None else self.downsample(x)
        out = self.conv3(y)
        if self.attention is not None:
            vector = self._enlarged(self.attention(y), y)
            if self.scales:
                out = out * vector
            else:
                shortcut = shortcut + vector
        return F.relu(out + shortcut)


def reorder_outputs(stage: nn.Sequential, order: Tensor) -> bool:
    """Let a stage give its channels in another order, at no cost.

    Args:
        stage (nn.Sequential): Blocks; changed in place.
        order (Tensor): Which channel comes where.

    Returns:
        bool: Whether that was possible: the first block must have a
        convolution in its shortcut, and all must be rewritten.
    """
    if not all(isinstance(b, InferenceBottleneck) for b in stage) or stage[0].downsample is None:
        return False
    for i, block in enumerate(stage):
        layers = [block.conv3]
        if block.attention is not None:
            layers.append(block.attention.last)
        if i == 0:
            layers.append(block.downsample.conv)
        else:
            conv1 = block.conv1.conv
            conv1.weight.data = conv1.weight.data[:, order]
        for layer in layers:
            layer.weight.data = layer.weight.data[order]
            if layer.bias is not None:
                layer.bias.data = layer.bias.data[order]
    return True


class Reorder(nn.Module):
    """Gives a map's channels in another order.

    Args:
        order (Tensor): Which channel comes where.
    """

    def __init__(self, order: Tensor) -> None:
        super().__init__()
        self.register_buffer('order', order)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        return x[:, self.order]


def _phase_kernels(weight: Tensor, padding: int) -> Tensor:
    """Split a stride-2 deconvolution's kernel by the output's parity.

    Output row ``2 i + a`` is the sum of input rows ``i + d``, d in
    (-1, 0, 1), times kernel row ``a + padding - 2 d`` where there is one.

    Args:
        weight (Tensor): Kernel (..., k, k).
        padding (int): The deconvolution's padding.

    Returns:
        Tensor: Kernels of stride-1 convolutions with padding 1, a row and a
        column of phases, in shape (2, 2, ..., 3, 3).
    """
    size = weight.shape[-1]
    kernels = weight.new_zeros(2, 2, *weight.shape[:-2], 3, 3)
    taps = [
        (a, d + 1, a + padding - 2 * d)
        for a in (0, 1)
        for d in (-1, 0, 1)
        if 0 <= a + padding - 2 * d < size
    ]
    for a, row, ky in taps:
        for b, column, kx in taps:
            kernels[a, b, ..., row, column] = weight[..., ky, kx]
    return kernels


class PhaseUpsample(nn.Module):
    """A stride-2 deconvolution as convolutions and a pixel shuffle.

    Each of the four phases of the output (even and odd rows and columns) is
    a 3x3 convolution of the small input, depthwise where every output channel
    has a group to itself; engines have no fast kernel for the grouped
    deconvolution. Pointwise layers behind it commute with the pixel shuffle,
    so that only their result, few channels, is shuffled.

    The channels of a group are taken apart, and summed. For that, the first
    of all groups come first, then the second of all, as in :attr:`order`.

    Args:
        deconv (ConvModule): ConvTranspose2d of kernel 2, 3 or 4, stride 2,
            batch norm or none, and ReLU.
        tail (Sequence[nn.Module]): Layers that look at single pixels.
        style (GraphStyle): One of :data:`STYLES`.

    Attributes:
        order (Tensor, optional): Order in which it takes the channels of its
            input; None for the deconvolution's own.
    """

    def __init__(self, deconv: ConvModule, tail: Sequence[nn.Module], style: GraphStyle) -> None:
        super().__init__()
        self.joining = style.joining
        conv, norm = deconv.conv, deconv.norm
        groups, out_channels = conv.groups, conv.out_channels
        # (Cin, Cout / g, k, k) as (g, Cin / g, Cout / g, k, k)
        weight = conv.weight.detach().reshape(groups, -1, *conv.weight.shape[1:])
        bias = weight.new_zeros(out_channels)
        if conv.bias is not None:
            bias = conv.bias.detach()
        if isinstance(norm, nn.modules.batchnorm._BatchNorm):
            factor = norm.weight / torch.sqrt(norm.running_var + norm.eps)
            factor = factor.detach()
            bias = (bias - norm.running_mean) * factor + norm.bias.detach()
            weight = weight * factor.reshape(groups, 1, -1, 1, 1)
        # (2, 2, g, Cout / g, Cin / g, 3, 3)
        kernels = _phase_kernels(weight.transpose(1, 2), conv.padding[0])
        self.parts, self.order = 1, None
        if groups == out_channels and conv.in_channels > groups:
            self.parts = conv.in_channels // groups
            order = torch.arange(conv.in_channels).reshape(groups, -1)
            self.order = order.t().flatten()
        self.phases = nn.ModuleList()
        for phase in kernels.reshape(4, out_channels, -1, 3, 3):
            step = phase.shape[1] // self.parts
            self.phases.append(
                nn.ModuleList(
                    _conv2d(
                        phase[:, i * step : (i + 1) * step],
                        bias if i == 0 else None,
                        padding=1,
                        groups=groups,
                    )
                    for i in range(self.parts)
                )
            )
        self.tail = nn.Sequential(*tail)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, Cin, H, W) to (N, Cout, 2 H, 2 W)."""
        inputs = [x]
        if self.parts > 1:
            step = int(x.shape[1]) // self.parts
            inputs = [x[:, i * step : (i + 1) * step] for i in range(self.parts)]
        phases = []
        for convs in self.phases:
            y = convs[0](inputs[0])
            for conv, part in zip(convs[1:], inputs[1:]):
                y = conv(part) + y
            phases.append(self.tail(F.relu(y)))
        if self.joining == 'shuffle':
            return _shuffle(torch.cat(phases, 1))
        _, channels, height, width = map(int, phases[0].shape)
        if self.joining == 'stack':
            rows = [
                keep_batch(torch.stack(pair, -1), channels, height, 2 * width)
                for pair in (phases[:2], phases[2:])
            ]
            return keep_batch(torch.cat(rows, -1), channels, 2 * height, 2 * width)
        phases = [phase.permute(0, 2, 3, 1) for phase in phases]
        rows = [
            keep_batch(torch.cat(pair, -1), height, 2 * width * channels)
            for pair in (phases[:2], phases[2:])
        ]
        y = keep_batch(torch.cat(rows, -1), 2 * height, 2 * width, channels)
        return y.permute(0, 3, 1, 2)


def _rewrite_head(head: LPNHead, style: GraphStyle) -> nn.Sequential:
    """Return the layers of an :class:`LPNHead`, which has norms unfolded."""
    # without deconvolutions, or without convolutions, there is an Identity
    layers = []
    if not isinstance(head.deconv_layers, nn.Identity):
        layers = list(head.deconv_layers)
    deconvs = list(zip(layers[0::2], layers[1::2]))
    last = [fuse_conv_bn(head.conv_layers), head.final_layer]
    pointwise = all(
        conv.kernel_size == (1, 1)
        for layer in last
        for conv in layer.modules()
        if isinstance(conv, nn.Conv2d)
    )
    steps = []
    for i, (deconv, mixing) in enumerate(deconvs):
        tail = [fuse_conv_bn(mixing)]
        if pointwise and i == len(deconvs) - 1:
            steps.append(PhaseUpsample(deconv, tail + last, style))
            return nn.Sequential(*steps)
        steps += [PhaseUpsample(deconv, [], style), *tail]
    return nn.Sequential(*steps, *last)


class InferenceNetwork(nn.Module):
    """Backbone, neck and head of an MMPose or MMDet model, batch norms folded.

    LPN's blocks and head take the forms above, layers of other models stay.

    Args:
        model (BaseModel): A model with ``backbone`` and ``head`` or
            ``bbox_head``, maybe ``neck``; it is not changed.
        style (GraphStyle): One of :data:`STYLES`.
    """

    def __init__(self, model: nn.Module, style: GraphStyle) -> None:
        super().__init__()
        model = revert_sync_batchnorm(copy.deepcopy(model)).eval()
        for parameter in model.parameters():
            parameter.requires_grad = False
        self.backbone = fuse_conv_bn(model.backbone)
        neck = getattr(model, 'neck', None)
        self.neck = nn.Identity() if neck is None else fuse_conv_bn(neck)
        self.on_last = False
        if hasattr(model, 'bbox_head'):
            # RTMDet's levels share convolutions and not their batch norms
            self.head = model.bbox_head
        elif type(model.head) is LPNHead:
            self.on_last = True
            self.head = _rewrite_head(model.head, style)
        else:
            self.head = fuse_conv_bn(model.head)
        for module in list(self.backbone.modules()):
            for name, child in module.named_children():
                if isinstance(child, LightweightBottleneck) and InferenceBottleneck.supports(child):
                    setattr(module, name, InferenceBottleneck(child, style))
        if self.on_last:
            self._reorder()
        self.eval()

    def _reorder(self) -> None:
        """Give the head's first step the order of channels that it takes."""
        order = getattr(self.head[0], 'order', None)
        if order is None:
            return
        if isinstance(self.backbone, LPN) and isinstance(self.neck, nn.Identity):
            last = self.backbone.layers[max(self.backbone.out_indices)]
            if reorder_outputs(getattr(self.backbone, last), order):
                return
        self.head.insert(0, Reorder(order))

    def parts(self) -> list[str]:
        """Name the modules that are quantized or not as a whole.

        The layers behind a deconvolution that look at single pixels are apart
        from it.
        """
        names = [
            f'{name}.{child}'
            for name, module in self.named_children()
            for child, _ in module.named_children()
        ]
        return names + [
            f'{name}.tail'
            for name, module in self.named_modules()
            if isinstance(module, PhaseUpsample)
        ]

    def forward(self, x: Tensor):
        """Map normalised images (N, 3, h, w) to what the head returns."""
        feats = self.neck(self.backbone(x))
        return self.head(feats[-1] if self.on_last else feats)

    def fold_normalization(self, std: Tensor, swap: bool) -> None:
        """Let the network take images that were not divided by ``std``.

        The first convolution divides instead. Subtracting the mean stays
        outside, as zero padding stands for the mean.

        Args:
            std (Tensor): A value a channel, in the order that the network was
                trained on.
            swap (bool): Whether to take the channels in reverse order.
        """
        first = next(m for m in self.backbone.modules() if isinstance(m, nn.Conv2d))
        weight = first.weight.data / std.reshape(1, -1, 1, 1)
        first.weight.data = weight.flip(1) if swap else weight
