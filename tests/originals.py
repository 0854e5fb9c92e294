"""HRNet's ``pose_resnet`` and ``pose_hrnet``, as functions of their weights.

Written from the papers and the original's key names, with none of MMPose's
modules. A network makes its weights as it runs, by the formula of
``golden/reference_weights.py``, and so tells which keys an original file has.
"""

import runpy
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

TENSOR_FOR = runpy.run_path(str(Path(__file__).parent / 'golden/reference_weights.py'))[
    'tensor_for'
]
BOTTLENECKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


class Original:
    """A network and the weights that it has used so far."""

    def __init__(self) -> None:
        self.state_dict: dict[str, Tensor] = {}

    def weight(self, key: str, *shape: int) -> Tensor:
        assert key not in self.state_dict
        self.state_dict[key] = torch.from_numpy(TENSOR_FOR(key, shape))
        return self.state_dict[key]

    def conv(self, name, x, channels, kernel, stride=1) -> Tensor:
        weight = self.weight(f'{name}.weight', channels, x.shape[1], kernel, kernel)
        return F.conv2d(x, weight, stride=stride, padding=kernel // 2)

    def bn(self, name, x) -> Tensor:
        scale, shift, mean, var = (
            self.weight(f'{name}.{leaf}', x.shape[1])[:, None, None]
            for leaf in ('weight', 'bias', 'running_mean', 'running_var')
        )
        self.state_dict[f'{name}.num_batches_tracked'] = torch.tensor(7)
        return (x - mean) / (var + 1e-5).sqrt() * scale + shift

    def conv_bn(self, conv, bn, x, channels, kernel, stride=1) -> Tensor:
        return self.bn(bn, self.conv(conv, x, channels, kernel, stride))

    def block(self, name, x, planes, kernels, expansion, stride=1) -> Tensor:
        """A basic block or bottleneck; its stride is in the first 3x3."""
        out = x
        for i, kernel in enumerate(kernels):
            last = i == len(kernels) - 1
            out = self.conv_bn(
                f'{name}.conv{i + 1}',
                f'{name}.bn{i + 1}',
                out,
                planes * expansion if last else planes,
                kernel,
                stride if i == kernels.index(3) else 1,
            )
            out = out if last else out.relu()
        if x.shape != out.shape:
            x = self.conv_bn(
                f'{name}.downsample.0', f'{name}.downsample.1', x, out.shape[1], 1, stride
            )
        return (out + x).relu()

    def layer(self, name, x, planes, count, stride=1) -> Tensor:
        for i in range(count):
            x = self.block(f'{name}.{i}', x, planes, (1, 3, 1), 4, stride if i == 0 else 1)
        return x

    def final_layer(self, x, keypoints) -> Tensor:
        out = self.conv('final_layer', x, keypoints, 1)
        return out + self.weight('final_layer.bias', keypoints)[:, None, None]


class PoseResNet(Original):
    """SimpleBaseline: a ResNet and three 4x4 deconvolutions."""

    def __init__(self, depth: int, keypoints: int) -> None:
        super().__init__()
        self.depth, self.keypoints = depth, keypoints

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        x = self.conv_bn('conv1', 'bn1', x, 64, 7, 2).relu()
        x = F.max_pool2d(x, 3, 2, 1)
        for i, count in enumerate(BOTTLENECKS[self.depth]):
            x = self.layer(f'layer{i + 1}', x, 64 * 2**i, count, 1 if i == 0 else 2)
        for i in (0, 3, 6):
            weight = self.weight(f'deconv_layers.{i}.weight', x.shape[1], 256, 4, 4)
            x = F.conv_transpose2d(x, weight, stride=2, padding=1)
            x = self.bn(f'deconv_layers.{i + 1}', x).relu()
        return self.final_layer(x, self.keypoints)


class PoseHRNet(Original):
    """HRNet of a width: stages of 2, 3 and 4 branches, 1, 4 and 3 modules."""

    def __init__(self, width: int, keypoints: int) -> None:
        super().__init__()
        self.width, self.keypoints = width, keypoints

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        x = self.conv_bn('conv1', 'bn1', x, 64, 3, 2).relu()
        x = self.conv_bn('conv2', 'bn2', x, 64, 3, 2).relu()
        branches = [self.layer('layer1', x, 64, 4)]
        for stage, modules in ((2, 1), (3, 4), (4, 3)):
            branches = self.transition(f'transition{stage - 1}', branches)
            for i in range(modules):
                last = stage == 4 and i == modules - 1
                branches = self.module(f'stage{stage}.{i}', branches, 1 if last else stage)
        return self.final_layer(branches[0], self.keypoints)

    def transition(self, name, branches: list[Tensor]) -> list[Tensor]:
        """Add a branch of half the size; the first time, set the width."""
        out = list(branches)
        if branches[0].shape[1] != self.width:
            out = [self.conv_bn(f'{name}.0.0', f'{name}.0.1', branches[0], self.width, 3).relu()]
        i = len(branches)
        out.append(
            self.conv_bn(
                f'{name}.{i}.0.0', f'{name}.{i}.0.1', branches[-1], self.width * 2**i, 3, 2
            ).relu()
        )
        return out

    def module(self, name, branches, outputs: int) -> list[Tensor]:
        """Four basic blocks a branch, then every branch into each output."""
        for i, x in enumerate(branches):
            for j in range(4):
                x = self.block(f'{name}.branches.{i}.{j}', x, x.shape[1], (3, 3), 1)
            branches[i] = x
        return [
            sum(
                self.fuse(f'{name}.fuse_layers.{i}.{j}', x, j, i) for j, x in enumerate(branches)
            ).relu()
            for i in range(outputs)
        ]

    def fuse(self, name, x, source: int, target: int) -> Tensor:
        channels = self.width * 2**target
        if source > target:
            x = self.conv_bn(f'{name}.0', f'{name}.1', x, channels, 1)
            return x.repeat_interleave(2 ** (source - target), 2).repeat_interleave(
                2 ** (source - target), 3
            )
        for k in range(target - source):
            last = k == target - source - 1
            x = self.conv_bn(
                f'{name}.{k}.0', f'{name}.{k}.1', x, channels if last else x.shape[1], 3, 2
            )
            x = x if last else x.relu()
        return x
