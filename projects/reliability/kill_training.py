#!/usr/bin/env python
"""Kill a training again and again, resume it, and compare its end with an uninterrupted one.

Trains LPN-50 on a few drawn planes in the deterministic mode: once without
interruption, then in rounds that are killed (SIGKILL) at random moments, every
second time while a checkpoint is being written, and resumed until they end.
Weights, averaged weights, optimizer and the number of iterations must be the
same to the last bit. The exit status is 1 if they are not.
"""

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / 'projects/own_data/configs/td-hm_lpn50_1xb32-10e_planes-96x96.py'
#: The average of the weights is to be resumed as well.
WITH_AVERAGE = f"""
_base_ = {str(CONFIG)!r}
custom_hooks = [
    *_base_.custom_hooks,
    dict(
        type='EMAHook',
        ema_type='ExponentialMovingAverage',
        momentum=0.004,
        update_buffers=True,
        priority=49,
    ),
]
"""


def options(args):
    """Return ``--cfg-options`` for a training of a few seconds."""
    data = args.work_dir.resolve() / 'data'
    chosen = [
        'randomness.deterministic=True',
        f'train_cfg.max_epochs={args.epochs}',
        'train_dataloader.batch_size=4',
        'default_hooks.logger.interval=1',
        'visualizer.vis_backends=[]',
    ]
    for split in ('train', 'val'):
        loader = f'{split}_dataloader'
        chosen += [
            f'{loader}.num_workers={args.workers if split == "train" else 0}',
            f'{loader}.persistent_workers={bool(args.workers) and split == "train"}',
            f'{loader}.dataset.data_root={data}/',
            f'{loader}.dataset.metainfo.from_file={ROOT}/projects/own_data/planes.py',
        ]
    return chosen


def start(args, folder, resume):
    """Fork a process that trains in ``folder``; the imports are done already."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        log = os.open(folder / 'log.txt', os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        sys.argv = ['train.py', str(args.work_dir / 'config.py'), '--work-dir', str(folder)]
        sys.argv += ['--resume'] * resume + ['--cfg-options', *options(args)]
        from lpn_mmpose.apis.train import train

        train()
        status = 0
    except SystemExit as end:
        status = end.code or 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def ended(pid):
    """Return the exit status of a process, None while it runs."""
    done, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if done else None


def writing(folder):
    """Return whether a checkpoint is being written."""
    return any(folder.glob('.*.partial'))


def finish(args, folder):
    """Train to the end; return the seconds it took."""
    begin = time.monotonic()
    folder.mkdir(parents=True)
    status = os.waitstatus_to_exitcode(os.waitpid(start(args, folder, False), 0)[1])
    if status:
        sys.exit(f'training failed ({status}):\n{(folder / "log.txt").read_text()[-3000:]}')
    return time.monotonic() - begin


def killed_round(args, folder, kills, seconds, rng):
    """Train in ``folder`` with up to ``kills`` kills; return how many of each kind there were."""
    folder.mkdir(parents=True)
    counts = dict(random=0, writing=0)
    while True:
        kind = ('writing', 'random')[sum(counts.values()) % 2]
        moment = time.monotonic() + rng.uniform(0, 0.7 * seconds)
        pid = start(args, folder, True)
        while (status := ended(pid)) is None:
            if sum(counts.values()) < kills and (
                writing(folder) if kind == 'writing' else time.monotonic() > moment
            ):
                time.sleep(rng.uniform(0, 0.05) if kind == 'writing' else 0)
                counts[kind] += 1
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                status = -signal.SIGKILL
                break
            time.sleep(0.001 if kind == 'writing' else 0.01)
        if status == 0:
            return counts
        if status != -signal.SIGKILL:
            sys.exit(f'resuming failed ({status}):\n{(folder / "log.txt").read_text()[-3000:]}')


def leaves(value, path=''):
    """Yield the path and value of every leaf of a checkpoint."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, f'{path}.{key}')
    elif isinstance(value, (list, tuple)):
        for key, inner in enumerate(value):
            yield from leaves(inner, f'{path}.{key}')
    else:
        yield path, value


def differences(one, other):
    """Return the paths that differ in two checkpoints' trained states."""
    import torch

    found = []
    for key in ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers'):
        first, second = (dict(leaves(checkpoint[key], key)) for checkpoint in (one, other))
        if first.keys() != second.keys():
            found.append(key)
        for path in first.keys() & second.keys():
            a, b = first[path], second[path]
            same = torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
            found += [] if same else [path]
    if one['meta']['iter'] != other['meta']['iter']:
        found.append(f'iterations {one["meta"]["iter"]} and {other["meta"]["iter"]}')
    return found


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--kills', type=int, default=30, help='default: 30')
    parser.add_argument('--epochs', type=int, default=4, help='of each training (default: 4)')
    parser.add_argument('--images', type=int, default=8, help='to train on (default: 8)')
    parser.add_argument('--workers', type=int, default=0, help='data workers (default: 0)')
    parser.add_argument('--per-round', type=int, default=6, help='kills of a training (default: 6)')
    parser.add_argument('--seed', type=int, default=0, help='of the moments (default: 0)')
    parser.add_argument('--work-dir', type=Path, default=Path('outputs/kills'))
    return parser.parse_args()


def main():
    args = parse_args()
    if args.work_dir.exists():
        sys.exit(f'{args.work_dir} is there already; give another --work-dir')
    subprocess.run(
        [
            sys.executable,
            str(ROOT / 'projects/own_data/make_planes.py'),
            '--out',
            str(args.work_dir / 'data'),
            '--images',
            str(args.images),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    (args.work_dir / 'config.py').write_text(WITH_AVERAGE)
    # once, before the forks: it takes longer than the training
    import torch

    import lpn_mmpose.apis.train
    import lpn_mmpose.models  # noqa: F401

    torch.set_num_threads(1)
    last = f'epoch_{args.epochs}.pth'
    seconds = finish(args, args.work_dir / 'whole')
    whole = torch.load(args.work_dir / 'whole' / last, weights_only=True)
    print(f'uninterrupted: {whole["meta"]["iter"]} iterations in {seconds:.1f} s', flush=True)
    rng, done, rounds, different = random.Random(args.seed), dict(random=0, writing=0), 0, []
    while sum(done.values()) < args.kills:
        folder = args.work_dir / f'round_{rounds}'
        kills = min(args.per_round, args.kills - sum(done.values()))
        counts = killed_round(args, folder, kills, seconds, rng)
        found = differences(whole, torch.load(folder / last, weights_only=True))
        partial = [path.name for path in folder.glob('.*.partial')]
        for kind, count in counts.items():
            done[kind] += count
        different += found
        rounds += 1
        print(
            f'round {rounds}: {counts["random"]} kills at random moments, {counts["writing"]} '
            f'while writing; {"the same" if not found else f"{len(found)} differ: {found[:3]}"}'
            + (f'; left behind: {len(partial)} partial files' if partial else ''),
            flush=True,
        )
        with contextlib.suppress(OSError):
            for path in folder.glob('*.pth'):
                path.unlink()
    print(
        f'{sum(done.values())} kills ({done["writing"]} while a checkpoint was written) in '
        f'{rounds} trainings: {"all end with the same" if not different else "NOT the same"} '
        'weights and iterations'
    )
    sys.exit(bool(different))


if __name__ == '__main__':
    main()
