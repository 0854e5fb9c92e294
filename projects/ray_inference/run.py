#!/usr/bin/env python
"""Find the poses in many images on many machines, by Ray Data; write Parquet.

python projects/ray_inference/run.py photos/ --out poses --det yolox-nano
python projects/ray_inference/run.py s3://bucket/photos --out s3://bucket/poses --address auto
"""

import argparse
import json
import logging
import os
import socket
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path

import folders
import shards
from tqdm import tqdm

from lpn_mmpose.errors import InputError, fail
from lpn_mmpose.runtime import PersonDetector, PoseRuntime
from lpn_mmpose.runtime.cli import content_of, read_options
from lpn_mmpose.runtime.engines import cpu_count, find_exported_model
from lpn_mmpose.runtime.layouts import LAYOUTS
from lpn_mmpose.runtime.locking import folder_locked
from lpn_mmpose.runtime.pose import DEFAULT_MODEL
from lpn_mmpose.version import __version__

MAX_LINES = 20


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog='exit status: 0 all done; 1 some images could not be read; 2 nothing could be done; '
        '3 some parts are not done, the same command goes on; 130 interrupted',
    )
    parser.add_argument(
        'images',
        help='folder of images, an image, or a list of images '
        f'({", ".join(folders.LIST_SUFFIXES)}): a path or a URI of pyarrow',
    )
    parser.add_argument('--out', required=True, metavar='DIR', help='of the results: path or URI')
    parser.add_argument(
        '--root', metavar='DIR', help="that a list's names are in; default: its own"
    )
    parser.add_argument(
        '--address', help='of a Ray cluster, or auto; default: Ray is started on this machine alone'
    )
    parser.add_argument(
        '--actors', type=int, metavar='N', help='processes with the models; default: all CPUs'
    )
    parser.add_argument(
        '--cpus', type=int, default=1, metavar='N', help='CPUs and threads of each (default: 1)'
    )
    parser.add_argument(
        '--batch',
        type=int,
        metavar='N',
        help=f'images in a part, which is done as a whole; default: {shards.MAX_BATCH}, or so '
        f'few that each actor has {shards.PARTS_PER_ACTOR} parts',
    )
    parser.add_argument('--model', default=DEFAULT_MODEL, help='as for lpn-pose')
    parser.add_argument('--layout', choices=tuple(LAYOUTS), help='as for lpn-pose')
    parser.add_argument('--det', metavar='MODEL', help='as for lpn-pose')
    parser.add_argument(
        '--det-input', nargs='+', default=[], metavar='NAME=VALUE', help='as for lpn-pose'
    )
    parser.add_argument('--det-thr', type=float, default=0.3, help='as for lpn-pose')
    parser.add_argument('--nms-thr', type=float, default=0.3, help='as for lpn-pose')
    parser.add_argument(
        '--again', action='store_true', help='make the parts with unreadable images again'
    )
    args = parser.parse_args(argv)
    for name in ('actors', 'cpus', 'batch'):
        value = getattr(args, name)
        if value is not None and value < 1:
            parser.error(f'--{name} must be positive, got {value}')
    return args


def here(model: str) -> str:
    """Return a model's absolute path if it is a file, else its name."""
    return str(Path(model).absolute()) if Path(model).is_file() else model


def load_models(args: argparse.Namespace) -> tuple[shards.Models, dict]:
    """Return what the actors load, and what decides the results.

    Raises:
        InputError: If a model cannot be used.
    """
    pose = dict(model=here(args.model), layout=args.layout)
    detector = None
    if args.det_input and not args.det:
        raise InputError('--det-input is of a detector: give --det too')
    if args.det:
        detector = dict(
            model=here(args.det),
            score_thr=args.det_thr,
            iou_thr=args.nms_thr,
            input=read_options(args.det_input),
        )
    # once here, so that a wrong model is told before anything starts
    PoseRuntime(**pose, threads=1)
    path = PersonDetector(**detector, threads=1).path if detector else None
    settings = dict(
        model=content_of(find_exported_model(args.model)),
        layout=args.layout,
        det=content_of(path),
        det_input=args.det_input,
        det_thr=args.det_thr,
        nms_thr=args.nms_thr,
        version=__version__,
    )
    return shards.Models(pose, detector, args.cpus), settings


# ---- Ray


def start_ray(args: argparse.Namespace) -> int:
    """Connect to a cluster, or start Ray on this machine; return how many actors fit.

    Raises:
        InputError: If there is no such cluster.
    """
    os.environ.setdefault('RAY_DATA_DISABLE_PROGRESS_BARS', '1')
    os.environ.setdefault('RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO', '0')
    os.environ.setdefault('RAY_BACKEND_LOG_LEVEL', 'fatal')  # dead actors are our business
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise InputError(
            f'{error}: pip install -r {Path(__file__).with_name("requirements.txt")}'
        ) from error
    host, _, port = (args.address or '').rpartition(':')
    if host and port.isdecimal() and '/' not in host:
        try:  # Ray would try for minutes
            socket.create_connection((host.strip('[]'), int(port)), timeout=10).close()
        except (OSError, OverflowError) as error:
            raise InputError(
                f'--address {args.address}: nothing answers there ({error}); start a cluster by '
                'ray start --head, which says its address'
            ) from error
    options = dict(log_to_driver=False, logging_level='ERROR')
    try:
        if args.address:
            ray.init(args.address, **options)  # this machine is one of the cluster's
        else:
            wanted = (args.actors or 1) * args.cpus
            ray.init('local', num_cpus=max(cpu_count(), wanted), include_dashboard=False, **options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = str(error).strip().partition('\n')[0]
        raise InputError(
            f'--address {args.address}: no cluster can be used there ({reason}); start one by '
            'ray start --head, with the same versions of Ray and Python; RAY_AUTH_MODE=token if '
            'it says that it has token authentication'
        ) from error
    # whole modules go to the actors: this folder need not be on the other machines
    for module in (folders, shards):
        ray.cloudpickle.register_pickle_by_value(module)
    for name in ('ray.data', 'ray'):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    return sum(
        int(node['Resources'].get('CPU', 0)) // args.cpus for node in ray.nodes() if node['Alive']
    )


def make_parts(
    parts: list[shards.Part], actors: int, cpus: int, *worker_args
) -> Iterator[shards.Outcome]:
    """Have parts made by actors, and yield what became of them."""
    import ray

    items = [dict(part=part.name, images=part.images) for part in parts]
    made = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
        shards.Worker,
        fn_constructor_args=worker_args,
        batch_size=1,
        batch_format='pyarrow',
        num_cpus=cpus,
        # from 1 on: at the end an idle actor gives its CPU to one whose machine is gone
        concurrency=(1, actors, actors) if actors > 1 else 1,
    )
    for row in made.iter_rows():
        yield shards.Outcome(**json.loads(row['outcome']))


# ---- the run


def with_errors(out: folders.Folder, parts: list[shards.Part]) -> list[shards.Part]:
    """Return the parts that hold images which could not be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    found = []
    for part in parts:
        content = pa.BufferReader(folders.read_patiently(out, f'poses/{part.name}'))
        column = pq.read_table(content, columns=['error'])['error']
        if column.null_count < len(column):
            found.append(part)
    return found


def report(outcomes: Iterable[shards.Outcome]) -> list[str]:
    """Return lines that say how fast it was, and what the actors' time went into."""
    made = [outcome for outcome in outcomes if outcome.images]
    if not made:
        return []
    spent = Counter()
    for outcome in made:
        spent.update(outcome.spent)
    images = sum(outcome.images for outcome in made)
    seconds = max(outcome.ended for outcome in made) - min(outcome.began for outcome in made)
    size, read, cpu = (
        sum(getattr(outcome, name) for outcome in made) for name in ('size', 'read', 'cpu')
    )
    shares = ', '.join(f'{name} {1000 * value / images:.2f}' for name, value in spent.items())
    return [
        f'speed: {images / seconds:.1f} images a second, {seconds:.1f} s without the start; an '
        f'image takes an actor {1000 * sum(spent.values()) / images:.1f} ms ({shares}), '
        f'{1000 * cpu / images:.1f} ms of CPU time',
        f'bytes of an image: {read / images:.0f} read, {size / images:.0f} written',
    ]


def run(args: argparse.Namespace, out: folders.Folder) -> tuple[list[str], int]:
    """Do what is not done yet; return lines to print, and the exit status.

    Raises:
        InputError: If something that was given cannot be used.
        OSError: If the results cannot be written.
    """
    source, names, notes = folders.find_images(args.images, args.root)
    models, settings = load_models(args)
    shards.keep_settings(out, dict(images=source.address, **settings))
    plan = shards.Plan(out)
    again = with_errors(out, plan.made()) if args.again else []
    new = plan.unplanned(names)
    actors = 0
    if new or again or plan.missing():
        fit = start_ray(args)
        if fit < 1:
            raise InputError(
                f'--cpus {args.cpus}: no machine of the cluster has as many CPUs; give fewer'
            )
        actors = args.actors or fit
        if actors > fit:
            notes.append(f'the cluster has room for {fit} actors at a time, not {actors}')
        plan.add(new, args.batch or shards.default_batch(len(new), actors))
    todo = [*plan.missing(), *again]
    before_images = sum(len(part.images) for part in plan.parts if part not in todo)
    lines, outcomes = [f'note: {note}' for note in notes], {}
    with tqdm(
        total=sum(len(part.images) for part in plan.parts),
        initial=before_images,
        unit='image',
        disable=None,
    ) as progress:
        worker_args = (models, source, out, bool(again))
        for outcome in make_parts(todo, actors, args.cpus, *worker_args) if todo else ():
            if outcome.failure:
                raise OSError(outcome.failure)
            outcomes[outcome.part] = outcome
            progress.update(outcome.images)
    there = {part.name for part in plan.made()}
    unseen = sorted(outcomes.keys() - there)
    if unseen:
        raise InputError(
            f'{out.join("poses/" + unseen[0])} was written by an actor and is not here: --out must '
            'be a folder that all machines share, or a URI (s3://…)'
        )
    undone = [part for part in plan.parts if part.name not in there]
    errors = [reason for outcome in outcomes.values() for reason in outcome.errors]
    lines += [f'unreadable: {reason}' for reason in errors[:MAX_LINES]]
    if len(errors) > MAX_LINES:
        lines.append(f'unreadable: and {len(errors) - MAX_LINES} more, see the column error')
    images = sum(outcome.images for outcome in outcomes.values())
    lines += report(outcomes.values())
    lines.append(
        f'images: {images} done, {before_images} done before, {len(errors)} of them now '
        f'unreadable; {sum(outcome.persons for outcome in outcomes.values())} persons now'
    )
    lines.append(f'Parquet {out.join("poses")}')
    if undone:
        lines.append(
            f'not done: {sum(len(part.images) for part in undone)} images of {len(undone)} parts '
            f'({undone[0].name}, …): give the same command again'
        )
        return lines, 3
    return lines, int(bool(errors))


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    try:
        out = folders.open_folder(args.out)
        lock = nullcontext()
        if isinstance(out, folders.LocalFolder):
            try:
                Path(out.address).mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise InputError(f'--out {out.address} cannot be written: {error}') from error
            lock = folder_locked(Path(out.address))
        with lock:
            lines, status = run(args, out)
    except InputError as error:
        fail(error)
    except BlockingIOError:
        fail(f'--out {args.out} is in use by another run: wait, or give another folder')
    except OSError as error:
        fail(f'{error}; what is done stays, and the same command goes on from here', 3)
    except KeyboardInterrupt:
        print('interrupted: the same command goes on from here', file=sys.stderr)
        return 130
    print('\n'.join(lines))
    return status


if __name__ == '__main__':
    sys.exit(main())
