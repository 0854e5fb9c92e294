"""Iterative training, the strategy that LPN's paper proposes.

`Simple and Lightweight Human Pose Estimation
<https://arxiv.org/abs/1911.10346>`_ trains LPN in stages "to give full play
to the potential" of so small a network. Stage 0 starts from scratch; each
later one starts from the best weights of the stage before, with a fresh
optimizer and the whole learning-rate schedule from its beginning.
"""

import argparse
import copy
import gc
import hashlib
import json
import os
import os.path as osp
import sys
import time
from types import ModuleType

import mmengine
from matplotlib.figure import Figure
from mmengine.config import Config
from mmengine.dist import barrier, is_main_process
from mmengine.logging import print_log
from mmengine.runner import Runner

from ..analysis.logs import read_scalars
from ..errors import InputError
from ..utils.checkpoint import find_resumable
from .mmpose_tools import mmpose_tool, prepare_launcher
from .train import faults_in_one_line, prepare_work_dir, train_config

#: The record of the finished stages, in the work directory.
RECORD = 'stages.json'


class StageRecord:
    """The finished stages of an iterative training, on disk.

    Args:
        work_dir (str): Work directory of the whole training.
        cfg (Config): The config of every stage.

    Raises:
        InputError: If ``work_dir`` holds stages of another config, or a
            record that cannot be read.
    """

    def __init__(self, work_dir: str, cfg: Config) -> None:
        self.path = osp.join(work_dir, RECORD)
        self.config = fingerprint(cfg)
        self.stages: list[dict] = []
        if not osp.exists(self.path):
            return
        try:
            with open(self.path) as file:
                record = json.load(file)
            self.stages, config = record['stages'], record['config']
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f'{self.path} cannot be read ({error}); give another --work-dir'
            ) from error
        if config != self.config:
            raise InputError(
                f'{work_dir} holds stages trained with another config or '
                'other --cfg-options; give another --work-dir'
            )

    def add(self, stage: dict) -> None:
        """Append a finished stage and write the record, all or nothing."""
        self.stages.append(stage)
        if is_main_process():
            partial = f'{self.path}.partial'
            mmengine.dump(
                dict(config=self.config, stages=self.stages), partial, file_format='json', indent=2
            )
            os.replace(partial, self.path)
        barrier()


def fingerprint(cfg: Config) -> str:
    """Return a hash of what must not change between the stages.

    Args:
        cfg (Config): The config; where it runs and writes does not count.
    """
    settings = {
        key: value
        for key, value in cfg.to_dict().items()
        if key not in ('work_dir', 'launcher', 'resume', 'env_cfg')
    }
    text = json.dumps(settings, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def metric_and_rule(cfg: Config) -> tuple:
    """Return the metric that picks the best weights and whether more is best.

    Args:
        cfg (Config): Config with ``default_hooks.checkpoint``.

    Raises:
        InputError: If the config does not name one metric and its rule.
    """
    hook = cfg.get('default_hooks', {}).get('checkpoint') or {}
    metric, rule = hook.get('save_best'), hook.get('rule', 'greater')
    if not isinstance(metric, str) or metric == 'auto' or rule not in ('greater', 'less'):
        raise InputError(
            f'{cfg.filename}: the stages are linked by their best weights, '
            'so default_hooks.checkpoint.save_best must name a metric and '
            "rule be 'greater' or 'less'"
        )
    return metric, rule == 'greater'


def stage_config(cfg: Config, index: int, work_dir: str, previous: str | None) -> Config:
    """Return the config of one stage.

    Args:
        cfg (Config): The config of every stage.
        index (int): The stage, from 0.
        work_dir (str): Work directory of the whole training.
        previous (str, optional): Best checkpoint of the stage before.

    Raises:
        InputError: If the stage was interrupted and none of its
            checkpoints can be read.
    """
    cfg = copy.deepcopy(cfg)
    cfg.work_dir = osp.join(work_dir, f'stage_{index}')
    # MMEngine keeps loggers, message hubs and visualizers by name
    name = f'{osp.basename(work_dir)}_stage_{index}'
    cfg.experiment_name = f'{name}_{time.strftime("%Y%m%d_%H%M%S")}'
    if cfg.get('visualizer'):
        cfg.visualizer.name = name
    resumable = find_resumable(cfg.work_dir)
    cfg.resume = resumable is not None
    if resumable is not None:
        cfg.load_from = resumable
    elif previous is not None:
        cfg.load_from = previous
    return cfg


def run_stage(cfg: Config, index: int, metric: str) -> dict:
    """Train one stage, or go on with it.

    Args:
        cfg (Config): From :func:`stage_config`.
        index (int): The stage, from 0.
        metric (str): The metric that picks the best weights.

    Returns:
        dict: stage, epochs, metric, best, checkpoint (relative to the folder
        of the stage's work directory), minutes.
    """
    start = time.monotonic()
    runner = Runner.from_cfg(cfg)
    runner.train()
    info = runner.message_hub.runtime_info
    if not osp.isfile(info.get('best_ckpt') or ''):
        # removed since they were saved
        print_log('the best weights are missing: evaluating the last ones', 'current')
        info.pop('best_score', None)
        runner.val_loop.run()
    best = info['best_ckpt']
    stage = dict(
        stage=index,
        epochs=runner.epoch,
        metric=metric,
        best=float(info['best_score']),
        checkpoint=osp.join(osp.basename(osp.normpath(cfg.work_dir)), osp.basename(best)),
        minutes=round((time.monotonic() - start) / 60, 2),
    )
    del runner
    gc.collect()  # the data loaders' workers end with their loaders
    return stage


def best_stage(stages: list[dict], greater: bool) -> dict:
    """Return the stage with the best metric, the first of equals."""
    return (max if greater else min)(stages, key=lambda s: s['best'])


def stale(stages: list[dict], greater: bool, patience: int) -> bool:
    """Whether the last ``patience`` stages have not improved the metric."""
    if len(stages) <= patience:
        return False
    best = best_stage(stages, greater)
    return len(stages) - 1 - stages.index(best) >= patience


def train_stages(cfg: Config, stages: int, patience: int) -> list[dict]:
    """Train in stages, or go on where an earlier call ended.

    Args:
        cfg (Config): The config of every stage; ``work_dir`` gets one folder
            per stage and the record of the finished ones.
        stages (int): Stages in all.
        patience (int): Stages without an improvement after which to stop.

    Returns:
        list[dict]: The finished stages, see :func:`run_stage`.

    Raises:
        InputError: See :class:`StageRecord` and :func:`metric_and_rule`.
    """
    work_dir = osp.abspath(cfg.work_dir)
    metric, greater = metric_and_rule(cfg)
    os.makedirs(work_dir, exist_ok=True)
    record = StageRecord(work_dir, cfg)
    barrier()
    while len(record.stages) < stages:
        if stale(record.stages, greater, patience):
            print_log(
                f'{patience} stage(s) without a better {metric}: stopping '
                f'after {len(record.stages)} of {stages}',
                'current',
            )
            break
        previous = None
        if record.stages:
            previous = osp.join(work_dir, record.stages[-1]['checkpoint'])
            if not osp.isfile(previous):
                raise InputError(
                    f'{previous}, the best of the stage before, is gone; put '
                    'it back or give another --work-dir'
                )
        index = len(record.stages)
        stage = stage_config(cfg, index, work_dir, previous)
        record.add(run_stage(stage, index, metric))
    return record.stages


def stage_table(stages: list[dict], greater: bool) -> str:
    """Return the stages as text, the best one marked."""
    best = best_stage(stages, greater)
    lines = [f'{"stage":>5}  {"epochs":>6}  {stages[0]["metric"]:>14}  {"minutes":>8}  checkpoint']
    for stage in stages:
        lines.append(
            f'{stage["stage"]:>5}  {stage["epochs"]:>6}  '
            f'{stage["best"]:>14.4f}  {stage["minutes"]:>8.1f}  '
            f'{stage["checkpoint"]}{" *" if stage is best else ""}'
        )
    return '\n'.join(lines)


def plot_stages(work_dir: str, stages: list[dict], greater: bool) -> str:
    """Draw the metric over the epochs of all stages.

    Args:
        work_dir (str): Work directory of the whole training.
        stages (list[dict]): The finished stages.
        greater (bool): Whether a greater metric is better.

    Returns:
        str: The PNG.
    """
    figure = Figure(figsize=(8, 4.5), layout='constrained')
    axes = figure.add_subplot()
    metric = stages[0]['metric']
    done = 0
    for stage in stages:
        folder = osp.join(work_dir, f'stage_{stage["stage"]}')
        rows = [row for row in read_scalars(folder)[1] if metric in row]
        axes.plot(
            [done + row['step'] for row in rows],
            [row[metric] for row in rows],
            'o-',
            markersize=3,
            label=f'stage {stage["stage"]}: {stage["best"]:.4f}',
        )
        done += stage['epochs']
        axes.axvline(done, color='0.85', zorder=0)
    axes.axhline(best_stage(stages, greater)['best'], color='0.5', ls=':')
    axes.set(xlabel='epoch, all stages', ylabel=metric, xlim=(0, done))
    axes.legend()
    path = osp.join(work_dir, 'stages.png')
    figure.savefig(path)
    return path


def parse_args(tool: ModuleType) -> argparse.Namespace:
    """Read the command line; all other flags are those of ``tools/train.py``.

    Args:
        tool (module): MMPose's ``tools/train.py``.

    Raises:
        InputError: If a flag does not go with training in stages.
    """
    parser = argparse.ArgumentParser(
        usage='%(prog)s CONFIG --stages N [--patience N] [flags of tools/train.py]',
        description='Train in stages, each from the best weights of the one '
        'before. Started again with the same command, it goes on where it '
        'was interrupted. All other flags are those of tools/train.py.',
        allow_abbrev=False,
    )
    parser.add_argument('--stages', type=int, required=True, help='stages in all')
    parser.add_argument(
        '--patience',
        type=int,
        default=1,
        help='stages without a better metric after which to stop',
    )
    own, sys.argv[1:] = parser.parse_known_args()
    for name, value in vars(own).items():
        if value < 1:
            parser.error(f'--{name} must be at least 1')
    args = tool.parse_args()
    if args.resume:
        raise InputError('leave out --resume: the same command goes on where it was interrupted')
    if args.no_validate:
        raise InputError('--no-validate does not go with stages, which the best metric links')
    vars(args).update(vars(own))
    return args


def main() -> None:
    """Run ``tools/iterative_train.py``."""
    tool = mmpose_tool('train')
    with faults_in_one_line():
        args = parse_args(tool)
        cfg = train_config(args, tool)
        prepare_work_dir(cfg)
        prepare_launcher(cfg)
        _, greater = metric_and_rule(cfg)
        stages = train_stages(cfg, args.stages, args.patience)
    if is_main_process():
        plot = plot_stages(cfg.work_dir, stages, greater)
        best = best_stage(stages, greater)
        print(stage_table(stages, greater))
        print('record:', osp.join(cfg.work_dir, RECORD))
        print('plot:', plot)
        print('best checkpoint:', osp.join(cfg.work_dir, best['checkpoint']))
