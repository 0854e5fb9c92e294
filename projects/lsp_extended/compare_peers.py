#!/usr/bin/env python
"""Train small pose networks from scratch at an equal budget, and compare them.

Each takes its backbone, head and codec from MMPose's own COCO config; data,
augmentation, input size, optimizer and schedule are those of our LSP config.
Started again with the same command, it goes on where it was interrupted.
"""

import argparse
import copy
import gc
import json
import os
import statistics
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import lpn_mmpose  # noqa: F401, puts the patches in place, hence comes first

# isort: split
import numpy as np
import torch
from mmengine.config import Config, DictAction
from mmengine.runner import Runner
from mmengine.utils import get_installed_path

from lpn_mmpose.analysis.complexity import complexity, settle
from lpn_mmpose.datasets.data_check import require_data
from lpn_mmpose.deploy.export import export_network, load_model
from lpn_mmpose.errors import InputError, fail
from lpn_mmpose.runtime.engines import onnxruntime_session
from lpn_mmpose.runtime.model_meta import INPUT_NAME
from lpn_mmpose.utils.checkpoint import find_resumable
from lpn_mmpose.utils.config import input_size, load_config, set_input_size
from lpn_mmpose.utils.timing import interleave

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / 'configs/body_2d_keypoint/lpn/lspet' / 'td-hm_lpn50_1xb32-60e_lspet-128x128.py'
OURS = 'LPN-50'
#: Name to config, in MMPose's configs of 2-D bodies.
MODELS = {
    'RTMPose-t': 'rtmpose/coco/rtmpose-t_8xb256-420e_coco-256x192.py',
    'RTMPose-s': 'rtmpose/coco/rtmpose-s_8xb256-420e_coco-256x192.py',
    'MobileNetV2': 'topdown_heatmap/coco/td-hm_mobilenetv2_8xb64-210e_coco-256x192.py',
    'ShuffleNetV2': 'topdown_heatmap/coco/td-hm_shufflenetv2_8xb64-210e_coco-256x192.py',
}
LOSSES = ('recipe', 'own')
RECORD = 'peers.json'


def fit_codec(codec: dict, size: Sequence[int]) -> dict:
    """Return a codec of MMPose's for another input size (w, h)."""
    codec = dict(codec, input_size=tuple(size))
    if codec['type'] == 'SimCCLabel':
        # what MMPose's configs of all sizes follow
        codec['sigma'] = tuple(2 * (side / 32) ** 0.5 for side in size)
    else:
        codec['heatmap_size'] = tuple(side // 4 for side in size)
    return codec


def peer_config(name: str, recipe: Config, loss: str) -> Config:
    """Put a peer's network into a training recipe.

    Args:
        name (str): Key of :data:`MODELS`, or :data:`OURS`.
        recipe (Config): Config of LPN.
        loss (str): ``'recipe'`` trains heatmaps with LPN's codec and loss,
            ``'own'`` with those of the peer's config. A network that gives no
            heatmaps keeps its own.
    """
    cfg = copy.deepcopy(recipe)
    if name == OURS:
        return cfg
    folder = Path(get_installed_path('mmpose')) / '.mim' / 'configs' / 'body_2d_keypoint'
    model = load_config(str(folder / MODELS[name])).model
    size = input_size(recipe)
    head, ours = model.head, recipe.model.head
    head.out_channels = ours.out_channels
    head.decoder = fit_codec(head.decoder, size)
    if head.type == 'RTMCCHead':
        head.input_size = size
        head.in_featuremap_size = tuple(side // 32 for side in size)
    elif loss == 'recipe':
        head.decoder, head.loss = ours.decoder, ours.loss
    model.backbone.init_cfg = None
    if model.backbone.get('norm_cfg', {}).get('type') == 'SyncBN':
        model.backbone.norm_cfg.type = 'BN'
    model.data_preprocessor = recipe.model.data_preprocessor
    model.train_cfg = recipe.model.get('train_cfg')
    cfg.model = model
    for step in cfg.train_dataloader.dataset.pipeline:
        if step['type'] == 'GenerateTarget':
            step.encoder = head.decoder
    return cfg


def recipe_config(args: argparse.Namespace) -> Config:
    """Return our LSP config with the budget of the comparison."""
    cfg = load_config(str(RECIPE))
    set_input_size(cfg, (args.input_size, args.input_size))
    images = cfg.train_dataloader.batch_size
    cfg.train_dataloader.batch_size = args.batch_size
    cfg.optim_wrapper.optimizer.lr *= args.batch_size / images
    cfg.train_cfg.update(max_epochs=args.epochs, val_interval=args.epochs)
    warm_up, cosine = cfg.param_scheduler
    cosine.update(end=args.epochs)
    # the schedule ends at zero: there is nothing to average
    cfg.custom_hooks = [hook for hook in cfg.custom_hooks if hook['type'] != 'EMAHook']
    cfg.merge_from_dict(args.cfg_options or {})
    return cfg


def train(cfg: Config, name: str, loss: str, work_dir: Path) -> dict:
    """Train and evaluate one network, or go on with it.

    Returns:
        dict: ``model``, ``loss``, the metrics, ``minutes`` (of this call),
        ``checkpoint``.
    """
    cfg = peer_config(name, cfg, loss)
    cfg.work_dir = str(work_dir / f'{name}-{loss}')
    cfg.experiment_name = f'{name}-{loss}-{time.strftime("%Y%m%d_%H%M%S")}'
    cfg.load_from = find_resumable(cfg.work_dir)
    cfg.resume = cfg.load_from is not None
    require_data(cfg, 'train', 'val')
    start = time.monotonic()
    runner = Runner.from_cfg(cfg)
    if cfg.resume:
        runner.load_or_resume()
    if runner.epoch < cfg.train_cfg.max_epochs:
        runner.train()
    metrics = runner.val_loop.run()
    checkpoint = str(Path(cfg.work_dir) / f'epoch_{runner.epoch}.pth')
    del runner
    gc.collect()  # the data loaders' workers end with their loaders
    return dict(
        model=name,
        loss=loss,
        metrics=metrics,
        minutes=(time.monotonic() - start) / 60,
        checkpoint=checkpoint,
    )


def measure(
    recipe: Config, names: Sequence[str], folder: Path, threads: int, repeats: int
) -> dict[str, dict]:
    """Measure size, cost and latency of the networks in ONNX Runtime.

    Returns:
        dict[str, dict]: Of each name ``params``, ``macs`` and ``ms``.
    """
    size = input_size(recipe)
    crop = np.random.default_rng(0).integers(0, 256, (1, *size[::-1], 3)).astype(np.uint8)
    folder.mkdir(parents=True, exist_ok=True)
    result, calls = {}, []
    for name in names:
        # the latency does not depend on the weights
        model = settle(load_model(peer_config(name, recipe, 'recipe')), size)
        cost = complexity(model, size)
        result[name] = dict(params=cost['params'], macs=cost['macs'])
        path = folder / f'{name}.onnx'
        export_network(model, size, path)
        session = onnxruntime_session(str(path), threads)
        calls.append((name, partial(session.run, None, {INPUT_NAME: crop})))
    for name, seconds in interleave(calls, repeats, warm_up=3).items():
        result[name]['ms'] = 1e3 * statistics.median(seconds)
    return result


def table(rows: list[dict], costs: dict[str, dict]) -> str:
    """Lay the comparison out as Markdown, the best first."""
    lines = [
        '| model | loss | parameters | MACs | PCK@0.2 | PCK@0.1 | ms |',
        '|---|---|---|---|---|---|---|',
    ]
    for row in sorted(rows, key=lambda r: -r['metrics']['torso/PCK@0.2']):
        cost, metrics = costs[row['model']], row['metrics']
        loss = 'its own' if row['loss'] == 'own' or row['model'].startswith('RTMPose') else "LPN's"
        lines.append(
            f'| {row["model"]} | {loss} | {cost["params"] / 1e6:.2f} M '
            f'| {cost["macs"] / 1e6:.0f} M '
            f'| {metrics["torso/PCK@0.2"]:.3f} '
            f'| {metrics["torso/PCK@0.1"]:.3f} | {cost["ms"]:.1f} |'
        )
    return '\n'.join(lines)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument('--models', nargs='+', choices=[OURS, *MODELS], default=[OURS, *MODELS])
    parser.add_argument('--loss', choices=LOSSES, default=LOSSES[0])
    parser.add_argument('--epochs', type=int, default=60)
    parser.add_argument('--input-size', type=int, default=128, help='side in pixels')
    parser.add_argument('--batch-size', type=int, default=32)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--repeats', type=int, default=50, help='runs to time')
    parser.add_argument('--work-dir', type=Path, default='work_dirs/peers')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    args = parser.parse_args()
    for name in ('epochs', 'batch_size', 'threads', 'repeats'):
        if getattr(args, name) < 1:
            parser.error(f'--{name.replace("_", "-")} must be at least 1')
    if args.input_size < 32 or args.input_size % 32:
        parser.error('--input-size must be a multiple of 32')
    return args


def main() -> None:
    args = parse_args()
    record = args.work_dir / RECORD
    torch.set_num_threads(args.threads)
    try:
        recipe = recipe_config(args)
        budget = dict(
            epochs=args.epochs,
            input_size=args.input_size,
            batch_size=args.batch_size,
            options=args.cfg_options or {},
        )
        rows = []
        if record.is_file():
            try:
                content = json.loads(record.read_text())
                rows, other = content['rows'], content['budget']
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(
                    f'{record} cannot be read ({error}); give another --work-dir'
                ) from error
            if other != budget:
                raise InputError(
                    f'{args.work_dir} holds another budget, {other}; give another --work-dir'
                )
        args.work_dir.mkdir(parents=True, exist_ok=True)
        for name in args.models:
            if any(row['model'] == name and row['loss'] == args.loss for row in rows):
                continue
            rows.append(train(recipe, name, args.loss, args.work_dir))
            partial = record.with_suffix('.partial')
            partial.write_text(json.dumps(dict(budget=budget, rows=rows), indent=1))
            os.replace(partial, record)
        names = list(dict.fromkeys(row['model'] for row in rows))
        costs = measure(recipe, names, args.work_dir / 'exported', args.threads, args.repeats)
    except InputError as error:
        fail(error)
    print(table(rows, costs))
    print('record:', record)


if __name__ == '__main__':
    main()
