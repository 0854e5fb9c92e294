#!/usr/bin/env python
"""Measure the published networks' speed on this CPU and draw it over AP.

Writes OUT.json (every row, with flip test and without) and OUT.png (COCO's
rows as bubbles, as LPN's original code shows them). One process, one image at a
time, random weights, the networks in turn: PyTorch as the original code runs it, and
LPN's also as our export runs it in ONNX Runtime.
"""

import argparse
import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import sqrt
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import lpn_mmpose  # noqa: F401, puts the patches in place

# isort: split
import numpy as np
import torch
from machine import machine
from mmengine.runner import save_checkpoint
from mmpose.apis import init_model
from mmpose.models.utils.tta import flip_heatmaps
from torch import Tensor, nn
from tqdm import tqdm

from lpn_mmpose.analysis.complexity import settle
from lpn_mmpose.deploy.export import export
from lpn_mmpose.runtime.engines import load_engine
from lpn_mmpose.utils.config import input_size, load_config
from lpn_mmpose.utils.timing import interleave
from lpn_mmpose.zoo.published import PublishedRow, published_rows

#: Colours of the bubbles by family of methods.
COLORS = {
    'pose_resnet': ('SimpleBaseline', 'tab:blue'),
    'pose_hrnet': ('HRNet', 'tab:orange'),
    'lpn': ('LPN', 'tab:green'),
}
#: Square points of a bubble for a million parameters.
POINTS_PER_MILLION = 60


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
    width, height = input_size(cfg)
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
    calls = [
        ((i, flip), partial(network.heatmaps, flip))
        for i, network in enumerate(networks)
        for flip in (False, True)
    ]
    seconds = interleave(calls, rounds)
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


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--out',
        default='docs/speed_accuracy',
        help='files to write, without suffix (default: %(default)s)',
    )
    parser.add_argument(
        '--threads',
        type=int,
        default=torch.get_num_threads(),
        help="default: PyTorch's, here %(default)s",
    )
    parser.add_argument('--rounds', type=int, default=30, help='default: %(default)s')
    args = parser.parse_args()
    if args.threads < 1 or args.rounds < 2:
        parser.error('--threads must be at least 1 and --rounds at least 2')
    return args


def main():
    args = parse_args()
    torch.set_num_threads(args.threads)
    rows = published_rows()
    networks = [torch_network(row) for row in tqdm(rows, desc='networks', leave=False)]
    with TemporaryDirectory() as folder:
        networks += [
            exported_network(network, args.threads, Path(folder))
            for network in tqdm(networks, desc='exports', leave=False)
            if network.row.method.startswith('lpn')
        ]
    report = dict(
        machine=machine(),
        threads=args.threads,
        rounds=args.rounds,
        results=measure(networks, args.rounds),
    )
    out = Path(args.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    for result in report['results']:
        print(
            '{dataset} {method:<16} {runtime:<13}'.format(**result),
            'FPS {:6.2f} flip, {:6.2f} without'.format(
                result['flip']['fps'], result['no_flip']['fps']
            ),
        )
    json_file, png_file = (f'{out}.{suffix}' for suffix in ('json', 'png'))
    Path(json_file).write_text(json.dumps(report, indent=1) + '\n')
    draw(report, png_file)
    print(json_file, png_file)


if __name__ == '__main__':
    main()
