"""What an exported file computes, from uint8 images to its outputs.

Only the exporter uses these modules. They wrap an
:class:`~lpn_mmpose.deploy.rewriting.InferenceNetwork` with what
:mod:`lpn_mmpose.runtime.model_meta` promises: normalisation before it and, as asked,
the mirrored image, decoding, or boxes after it.
"""

from collections.abc import Sequence

import torch
from mmdet.structures.bbox import distance2bbox
from mmengine.model import ImgDataPreprocessor
from torch import Tensor, nn

from .rewriting import InferenceNetwork, keep_batch


def channel_statistics(preprocessor: ImgDataPreprocessor) -> tuple[Tensor, Tensor, bool]:
    """Return how a model's images are normalised.

    Args:
        preprocessor (ImgDataPreprocessor): Of an MMPose or MMDet model.

    Returns:
        tuple:
        - mean (Tensor): (3, ), in the order that the network was trained on.
        - std (Tensor): (3, ), likewise.
        - swap (bool): Whether that order is the reverse of the image's.
    """
    mean, std = torch.zeros(3), torch.ones(3)
    if preprocessor._enable_normalize:
        mean = preprocessor.mean.flatten().cpu().expand(3).clone()
        std = preprocessor.std.flatten().cpu().expand(3).clone()
    return mean, std, preprocessor._channel_conversion


class ImageGraph(nn.Module):
    """A network that takes images as OpenCV has them.

    Args:
        network (InferenceNetwork): The network; normalisation by the std is
            folded into it.
        preprocessor (ImgDataPreprocessor): The model's own.
    """

    def __init__(self, network: InferenceNetwork, preprocessor: ImgDataPreprocessor) -> None:
        super().__init__()
        mean, std, swap = channel_statistics(preprocessor)
        network.fold_normalization(std, swap)
        self.network = network
        self.register_buffer('mean', mean.flip(0) if swap else mean)

    def normalized(self, images: Tensor) -> Tensor:
        """Turn uint8 (N, h, w, 3) into float (N, 3, h, w) of mean 0.

        Row by row: ONNX Runtime takes 18 times as long for a difference whose
        innermost dimension is of three channels.
        """
        _, height, width, channels = map(int, images.shape)
        rows = keep_batch(images, height, width * channels).float()
        rows = rows - self.mean.repeat(width)
        return keep_batch(rows, height, width, channels).permute(0, 3, 1, 2)

    def forward(self, images: Tensor):
        """Return what the network's head does."""
        return self.network(self.normalized(images))


class SoftArgmax(nn.Module):
    """:func:`lpn_mmpose.runtime.topdown.soft_argmax` and its refinement, in a graph.

    Args:
        heatmap_size (tuple[int, int]): Size (W, H) of the heatmaps.
        scale_factor (Sequence[float]): Pixels of the input a pixel of the
            heatmap, in x and y.
        beta (float): Factor in the softmax.
        quarter_offset (bool): Whether to apply
            :func:`lpn_mmpose.runtime.topdown.quarter_offset`.
    """

    def __init__(
        self,
        heatmap_size: tuple[int, int],
        scale_factor: Sequence[float],
        beta: float,
        quarter_offset: bool,
    ) -> None:
        super().__init__()
        self.width, self.height = heatmap_size
        self.beta, self.quarter_offset = beta, quarter_offset
        y, x = torch.meshgrid(torch.arange(self.height), torch.arange(self.width), indexing='ij')
        grid = torch.stack([x.flatten(), y.flatten()], 1).float()
        self.register_buffer('grid', grid)
        self.register_buffer('scale_factor', torch.tensor(scale_factor, dtype=torch.float32))

    def forward(self, heatmaps: Tensor) -> tuple[Tensor, Tensor]:
        """Decode (N, K, H, W) to (N, K, 2) in the input, and (N, K)."""
        keypoints = int(heatmaps.shape[1])
        flat = heatmaps.reshape(-1, keypoints, self.height * self.width)
        coords = torch.softmax(self.beta * flat, -1) @ self.grid

        def value(x: Tensor, y: Tensor) -> Tensor:
            index = y.clamp(0, self.height - 1) * self.width
            index = index + x.clamp(0, self.width - 1)
            return flat.gather(-1, index.long().unsqueeze(-1)).squeeze(-1)

        nearest = coords.round()
        scores = value(nearest[..., 0], nearest[..., 1])
        if self.quarter_offset:
            x, y = (coords + 0.5).floor().unbind(-1)
            inside = ((x > 1) & (x < self.width - 1) & (y > 1) & (y < self.height - 1)).float()
            shift = torch.stack(
                [
                    torch.sign(value(x + 1, y) - value(x - 1, y)),
                    torch.sign(value(x, y + 1) - value(x, y - 1)),
                ],
                -1,
            )
            coords = coords + 0.25 * shift * inside.unsqueeze(-1)
        return coords * self.scale_factor, scores


class PoseGraph(ImageGraph):
    """A top-down pose estimator.

    Args:
        network (InferenceNetwork): Its network.
        preprocessor (ImgDataPreprocessor): Its own.
        flip_indices (Sequence[int], optional): For each keypoint, its mirror
            image; averages with the mirrored input's heatmaps if given.
        shift (bool): Whether the mirrored heatmaps are shifted by a pixel.
        decoder (SoftArgmax, optional): Decodes the heatmaps if given.
    """

    def __init__(
        self,
        network: InferenceNetwork,
        preprocessor: ImgDataPreprocessor,
        flip_indices: Sequence[int] = None,
        shift: bool = True,
        decoder: SoftArgmax = None,
    ) -> None:
        super().__init__(network, preprocessor)
        self.flip_indices = None
        if flip_indices is not None:
            self.flip_indices = list(flip_indices)
        self.shift = shift
        self.decoder = decoder

    def forward(self, images: Tensor):
        """Map uint8 (N, h, w, 3) to heatmaps, or keypoints and scores."""
        x = self.normalized(images)
        if self.flip_indices is None:
            heatmaps = self.network(x)
        else:
            both = self.network(torch.cat([x, x.flip(3)]))
            shape = tuple(map(int, both.shape[1:]))
            both = both.reshape(2, -1, *shape)
            mirrored = both[1].flip(3)[:, self.flip_indices]
            if self.shift:
                mirrored = torch.cat([mirrored[..., :1], mirrored[..., :-1]], -1)
            heatmaps = (both[0] + mirrored) * 0.5
        return heatmaps if self.decoder is None else self.decoder(heatmaps)


class DetectorGraph(ImageGraph):
    """An RTMDet, up to but without non-maximum suppression.

    Args:
        network (InferenceNetwork): Its network.
        preprocessor (ImgDataPreprocessor): Its own.
        input_size (tuple[int, int]): Size (w, h) of the input.
        label (int): The class whose scores are returned.
    """

    def __init__(
        self,
        network: InferenceNetwork,
        preprocessor: ImgDataPreprocessor,
        input_size: tuple[int, int],
        label: int,
    ) -> None:
        super().__init__(network, preprocessor)
        self.label = label
        width, height = input_size
        generator = network.head.prior_generator
        priors = generator.grid_priors(
            [(height // h, width // w) for w, h in generator.strides], device='cpu'
        )
        self.register_buffer('priors', torch.cat(priors))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map uint8 (N, h, w, 3) to boxes (N, A, 4) and scores (N, A)."""
        x = self.normalized(images)
        maps, distances = self.network(x)
        scores = torch.cat([m[:, self.label : self.label + 1].flatten(1) for m in maps], 1)
        distances = torch.cat([d.permute(0, 2, 3, 1).flatten(1, 2) for d in distances], 1)
        return distance2bbox(self.priors, distances), scores.sigmoid()
