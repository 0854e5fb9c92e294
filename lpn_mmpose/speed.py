"""Speed of the published networks on this machine's CPU, and its picture."""

import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.runner import save_checkpoint
from mmpose.apis import init_model
from mmpose.models.utils.tta import flip_heatmaps
from torch import Tensor, nn
from tqdm import tqdm

from .analysis import settle
from .cli import input_shape, load_config
from .model_zoo import PublishedRow

#: Colours of the bubbles by family of methods.
COLORS = {
    'pose_resnet': ('SimpleBaseline', 'tab:blue'),
    'pose_hrnet': ('HRNet', 'tab:orange'),
    'lpn': ('LPN', 'tab:green'),
}
#: Square points of a bubble for a million parameters.
POINTS_PER_MILLION = 60
#: Pause between two calls, in s: engines' threads spin a while after a run.
PAUSE = 0.02


@dataclass
class Network:
    """A network to measure.

    Attributes:
        row (PublishedRow): The row it belongs to.
        runtime (str): What runs it, e.g. ``'PyTorch'``.
        heatmaps (callable): Computes the heatmaps (1, K, H/4, W/4) of one
            image, averaged with those of the mirrored one if its argument
            says so.
        images (Tensor): An image (1, 3, H, W).
        model (nn.Module): The network in PyTorch.
    """

    row: PublishedRow
    runtime: str
    heatmaps: Callable[[bool], Any]
    images: Tensor
    model: nn.Module

    @property
    def params(self) -> int:
        """Number of parameters."""
        return sum(p.numel() for p in self.model.parameters())


def with_flip(
    forward: Callable[[Tensor], Tensor], images: Tensor, flip_indices: Sequence[int]
) -> Callable[[bool], Tensor]:
    """Return :attr:`Network.heatmaps` of a network in PyTorch."""

    def heatmaps(flip: bool) -> Tensor:
        heatmaps = forward(images)
        if flip:
            mirrored = flip_heatmaps(
                forward(images.flip(-1)), flip_indices=flip_indices, shift_heatmap=True
            )
            heatmaps = (heatmaps + mirrored) / 2
        return heatmaps

    return heatmaps


def torch_network(row: PublishedRow) -> Network:
    """Build a row's network in PyTorch, with random weights."""
    cfg = load_config(row.config_path)
    height, width = input_shape(cfg)
    model = settle(init_model(cfg, device='cpu'), (width, height))
    generator = torch.Generator().manual_seed(0)
    images = torch.randn((1, 3, height, width), generator=generator)
    return Network(
        row=row,
        runtime='PyTorch',
        heatmaps=with_flip(
            lambda images: model(images, None, mode='tensor'),
            images,
            model.dataset_meta['flip_indices'],
        ),
        images=images,
        model=model,
    )


def exported_network(network: Network, threads: int, folder: Path) -> Network:
    """Export a network, with and without flip test, to ONNX Runtime.

    Args:
        network (Network): The network in PyTorch.
        threads (int): Number of threads.
        folder (Path): Where the files go.
    """
    from .deploy.export import export
    from .runtime.engines import load_engine

    row = network.row
    height, width = network.images.shape[2:]
    images = np.random.default_rng(0).integers(0, 256, (1, height, width, 3)).astype(np.uint8)
    weights = str(folder / 'weights.pth')
    save_checkpoint(dict(state_dict=network.model.state_dict()), weights)
    engines = {}
    for flip in (False, True):
        path = folder / f'{row.method}-{row.dataset}-{flip}.onnx'
        export(load_config(row.config_path), weights, path, batch=1, flip=flip)
        engines[flip] = load_engine(path, 'pose', threads=threads)
    return Network(
        row=row,
        runtime='ONNX Runtime',
        heatmaps=lambda flip: engines[flip](images)[0],
        images=network.images,
        model=network.model,
    )


@torch.inference_mode()
def measure(networks: Sequence[Network], rounds: int) -> list[dict]:
    """Time networks on one image, one after the other in each round.

    Interleaving them lets a disturbance of the machine fall on all alike.

    Args:
        networks (Sequence[Network]): The networks.
        rounds (int): Rounds counted; one more comes before them.

    Returns:
        list[dict]: For each network ``method``, ``dataset``, ``runtime``,
        ``input_shape``, ``params``, ``published`` (AP or PCKh@0.5), and for
        ``flip`` (two passes, averaged) and ``no_flip`` the median time and
        quartiles in ms (``ms``, ``ms_quartiles``) and ``fps``.
    """
    seconds: dict[tuple, list[float]] = {}
    for turn in tqdm(range(rounds + 1), desc='rounds', leave=False):
        for i, network in enumerate(networks):
            for flip in (False, True):
                time.sleep(PAUSE)
                start = time.perf_counter()
                network.heatmaps(flip)
                elapsed = time.perf_counter() - start
                if turn > 0:
                    seconds.setdefault((i, flip), []).append(elapsed)
    results = []
    for i, network in enumerate(networks):
        metrics = network.row.metrics
        result = dict(
            method=network.row.method,
            dataset=network.row.dataset,
            runtime=network.runtime,
            input_shape=list(network.images.shape),
            params=network.params,
            published=metrics.get('AP', metrics.get('Mean')),
        )
        for name, flip in (('flip', True), ('no_flip', False)):
            times = [1000 * t for t in seconds[i, flip]]
            quartiles = statistics.quantiles(times, method='inclusive')
            result[name] = dict(
                ms=round(quartiles[1], 2),
                ms_quartiles=[round(q, 2) for q in quartiles[::2]],
                fps=round(1000 / quartiles[1], 2),
            )
        results.append(result)
    return results


def machine() -> dict[str, Any]:
    """Describe what the times were measured on."""
    cpu = platform.processor()
    info = Path('/proc/cpuinfo')
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith('model name'):
                cpu = line.partition(':')[2].strip()
                break
    return dict(
        cpu=cpu or platform.machine(),
        capability=torch.backends.cpu.get_cpu_capability(),
        torch=torch.__version__,
    )


def draw(report: dict[str, Any], path: str) -> None:
    """Draw COCO's rows as bubbles: FPS, AP, and parameters as area.

    Args:
        report (dict): ``machine``, ``threads``, ``rounds`` and ``results`` as
            :func:`measure` returns them.
        path (str): Picture to write.
    """
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 5.5), layout='constrained')
    seen = set()
    results = [r for r in report['results'] if r['dataset'] == 'COCO']
    for result in sorted(results, key=lambda r: -r['params']):
        family, _, size = result['method'].rpartition('_')
        label, color = COLORS[family]
        exported = result['runtime'] != 'PyTorch'
        x, y = result['flip']['fps'], 100 * result['published']
        millions = result['params'] / 1e6
        axes.scatter(
            x,
            y,
            s=POINTS_PER_MILLION * millions,
            color=color,
            alpha=0.55,
            edgecolors='black',
            linestyle='--' if exported else '-',
        )
        if label not in seen:
            axes.scatter([], [], s=80, color=color, alpha=0.55, label=label)
            seen.add(label)
        name = f'{label}-{size.upper()}\n{millions:.1f} M'
        if exported:
            name += f', {result["runtime"]}'
        # outside of the bubble: its radius in points, and a little
        distance = sqrt(POINTS_PER_MILLION * millions) / 2 + 3
        right = family != 'pose_resnet'
        axes.annotate(
            name,
            (x, y),
            xytext=(distance if right else -distance, 0),
            textcoords='offset points',
            ha='left' if right else 'right',
            va='center',
            fontsize=9,
        )
    axes.set_xscale('log')
    axes.xaxis.set_major_formatter('{x:g}')
    rates = [r['flip']['fps'] for r in results]
    axes.set_xlim(min(rates) / 3, 3 * max(rates))
    axes.set_ylim(68, 77)
    axes.set_xlabel('images per second, one at a time, flip test on (logarithmic)')
    axes.set_ylabel('published AP on COCO val2017, 256x192')
    axes.grid(alpha=0.3)
    axes.legend(loc='upper right', title='area: parameters')
    machine = report['machine']
    axes.set_title(
        f'{machine["cpu"]}, {report["threads"]} thread'
        f'{"s" if report["threads"] > 1 else ""}, torch {machine["torch"]}, '
        f'median of {report["rounds"]}',
        fontsize=9,
    )
    figure.savefig(path, dpi=120)
    plt.close(figure)
