"""LPN's layers in the form that inference engines run fast.

Only the exporter uses these modules. Each computes what the trained module
computes, up to floating-point rounding; :mod:`lpn_mmpose.deploy.export`
checks every export against the trained model. docs/performance.md has what
each rewriting gains.
"""
import copy
from typing import Sequence

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule, fuse_conv_bn
from mmcv.cnn.bricks import ContextBlock
from mmengine.model import revert_sync_batchnorm
from torch import Tensor, nn

from ..models.lpn import BiasFreeSELayer, LightweightBottleneck
from ..models.lpn_head import LPNHead

#: How attention pools, how its vector is added, and how phases become one map,
#: by what runs the graph. ``matmul``: a product of matrices, and another for
#: the layer behind it. ``sum``: a weighted sum, which keeps OpenVINO's
#: blocked layout. ``map``: the vector enlarged to a map, since ONNX Runtime's
#: blocked float32 layout has the sum of two maps but not of a map and a
#: vector. ``vector``: the vector as it is. ``stack``: columns, then rows, are
#: laid side by side, four times as fast as ONNX Runtime's float32 pixel
#: shuffle, ``shuffle``.
STYLES = {
    'onnxruntime': ('matmul', 'map', 'stack'),
    'onnxruntime-int8': ('matmul', 'vector', 'shuffle'),
    'openvino': ('sum', 'vector', 'shuffle'),
}


def _conv2d(weight: Tensor, bias: Tensor = None, **kwargs) -> nn.Conv2d:
    """Return a convolution that has these weights."""
    groups = kwargs.get('groups', 1)
    conv = nn.Conv2d(
        weight.shape[1] * groups,
        weight.shape[0],
        weight.shape[2:],
        bias=bias is not None,
        **kwargs)
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
    return _conv2d((weight @ pointwise.weight.flatten(1))[..., None, None],
                   bias)


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


def _keep_batch(x: Tensor, *shape: int) -> Tensor:
    """Reshape (N, ...) to (N, *shape)."""
    if torch.onnx.is_in_onnx_export():
        return _KeepBatch.apply(x, shape)
    return x.reshape(-1, *shape)


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
        style (str): One of :data:`STYLES`.
    """

    def __init__(self, block: LightweightBottleneck, style: str) -> None:
        super().__init__()
        self.pooling, self.addition, _ = STYLES[style]
        self.conv1, self.conv2 = block.conv1, block.conv2
        self.conv3 = block.conv3.conv
        self.downsample = block.downsample
        attention = block.attention
        self.kind = None
        if isinstance(attention, ContextBlock):
            self.kind = 'GC'
            # softmax does not see the constant that the biases add
            mask = _behind(attention.conv_mask, self.conv3)
            self.mask = _conv2d(mask.weight)
            layers = list(attention.channel_add_conv)
        elif isinstance(attention, BiasFreeSELayer):
            self.kind = 'SE'
            layers = [
                _conv2d(layer.weight[..., None, None]) if isinstance(
                    layer, nn.Linear) else layer for layer in attention.fc
            ]
        if self.kind is not None:
            layers[0] = _behind(layers[0], self.conv3)
            if self.kind == 'GC' and self.pooling == 'matmul':
                # the last one stays: ONNX Runtime enlarges behind a
                # convolution in its blocked layout
                layers[:-1] = map(_linear, layers[:-1])
            self.fc = nn.Sequential(*layers)

    @staticmethod
    def supports(block: LightweightBottleneck) -> bool:
        """Whether the block's norm layers are folded and it is LPN's own."""
        folded = not isinstance(block.conv3.norm, nn.modules.batchnorm.
                                _NormBase) and block.conv3.conv.bias is not None
        return folded and isinstance(
            block.attention, (ContextBlock, BiasFreeSELayer, nn.Identity))

    def _context(self, y: Tensor) -> Tensor:
        """Map (N, C, H, W) to the attention's vector (N, C', 1, 1)."""
        _, channels, height, width = map(int, y.shape)
        if self.pooling == 'sum':
            weights = F.softmax(
                _keep_batch(self.mask(y), 1, height * width), dim=-1)
            weights = _keep_batch(weights, 1, height, width)
            return self.fc((y * weights).sum((2, 3), keepdim=True))
        flat = _keep_batch(y, channels, height * width)
        weights = F.softmax(self.mask.weight.flatten(1) @ flat, dim=-1)
        context = _keep_batch(weights @ flat.transpose(1, 2), channels)
        hidden = self.fc[:-1](context)
        return self.fc[-1](
            _keep_batch(hidden, int(hidden.shape[1]), 1, 1))

    def _enlarged(self, vector: Tensor, like: Tensor) -> Tensor:
        """Bring (N, C, 1, 1) to the form in which it is added."""
        if self.addition == 'vector':
            return vector
        return F.interpolate(
            vector, scale_factor=tuple(map(float, like.shape[2:])))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, H/s, W/s)."""
        y = self.conv2(self.conv1(x))
        shortcut = x if self.downsample is None else self.downsample(x)
        out = self.conv3(y)
        if self.kind == 'GC':
            shortcut = shortcut + self._enlarged(self._context(y), y)
        elif self.kind == 'SE':
            scale = self.fc(F.adaptive_avg_pool2d(y, 1))
            out = out * self._enlarged(scale, y)
        return F.relu(out + shortcut)


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
    taps = [(a, d + 1, a + padding - 2 * d) for a in (0, 1)
            for d in (-1, 0, 1) if 0 <= a + padding - 2 * d < size]
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

    Args:
        deconv (ConvModule): ConvTranspose2d of kernel 2, 3 or 4, stride 2,
            batch norm or none, and ReLU.
        tail (Sequence[nn.Module]): Layers that look at single pixels.
        style (str): One of :data:`STYLES`.
    """

    def __init__(self, deconv: ConvModule, tail: Sequence[nn.Module],
                 style: str) -> None:
        super().__init__()
        *_, self.joining = STYLES[style]
        conv, norm = deconv.conv, deconv.norm
        groups, out_channels = conv.groups, conv.out_channels
        # (Cin, Cout / g, k, k) as (g, Cin / g, Cout / g, k, k)
        weight = conv.weight.detach().reshape(groups, -1,
                                              *conv.weight.shape[1:])
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
        self.strides = 1
        if groups == out_channels:
            self.strides = conv.in_channels // groups
        self.phases = nn.ModuleList()
        for phase in kernels.reshape(4, out_channels, -1, 3, 3):
            step = phase.shape[1] // self.strides
            self.phases.append(
                nn.ModuleList(
                    _conv2d(
                        phase[:, i * step:(i + 1) * step],
                        bias if i == 0 else None,
                        padding=1,
                        groups=groups) for i in range(self.strides)))
        self.tail = nn.Sequential(*tail)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, Cin, H, W) to (N, Cout, 2 H, 2 W)."""
        inputs = [x]
        if self.strides > 1:
            inputs = [x[:, i::self.strides] for i in range(self.strides)]
        phases = []
        for convs in self.phases:
            y = convs[0](inputs[0])
            for conv, part in zip(convs[1:], inputs[1:]):
                y = conv(part) + y
            phases.append(self.tail(F.relu(y)))
        _, channels, height, width = map(int, phases[0].shape)
        if self.joining == 'stack':
            rows = [
                _keep_batch(
                    torch.stack(pair, -1), channels, height, 2 * width)
                for pair in (phases[:2], phases[2:])
            ]
            return _keep_batch(
                torch.cat(rows, -1), channels, 2 * height, 2 * width)
        y = _keep_batch(
            torch.stack(phases, 2), 4 * channels, height, width)
        return F.pixel_shuffle(y, 2)


def _rewrite_head(head: LPNHead, style: str) -> nn.Sequential:
    """Return the layers of an :class:`LPNHead`, which has norms unfolded."""
    # without deconvolutions, or without convolutions, there is an Identity
    layers = []
    if not isinstance(head.deconv_layers, nn.Identity):
        layers = list(head.deconv_layers)
    deconvs = list(zip(layers[0::2], layers[1::2]))
    last = [fuse_conv_bn(head.conv_layers), head.final_layer]
    pointwise = all(
        conv.kernel_size == (1, 1)
        for layer in last for conv in layer.modules()
        if isinstance(conv, nn.Conv2d))
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
        style (str): One of :data:`STYLES`.
    """

    def __init__(self, model: nn.Module, style: str) -> None:
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
                if isinstance(child, LightweightBottleneck
                              ) and InferenceBottleneck.supports(child):
                    setattr(module, name, InferenceBottleneck(child, style))
        self.eval()

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
        first = next(
            m for m in self.backbone.modules() if isinstance(m, nn.Conv2d))
        weight = first.weight.data / std.reshape(1, -1, 1, 1)
        first.weight.data = weight.flip(1) if swap else weight
