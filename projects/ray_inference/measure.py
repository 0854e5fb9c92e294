#!/usr/bin/env python
"""Print images a second by the number of actors, and how many parts a second Ray hands out.

The latter is timed with parts that are there already, so that an actor only looks and returns:
what the head node and Ray cost, without the work.

python projects/ray_inference/measure.py photos/ --det yolox-nano
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import folders
import run
import shards

from lpn_mmpose.errors import InputError, fail
from lpn_mmpose.runtime.engines import cpu_count


def images_a_second(command: list[str], actors: int, folder: Path) -> str:
    """Run with so many actors, and return what run.py says of the speed."""
    out = folder / f'actors{actors}'
    done = subprocess.run(
        [*command, '--out', str(out), '--actors', str(actors)], capture_output=True, text=True
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith(('speed', 'bytes'))]
    if done.returncode > 1 or not lines:
        raise InputError(f'run.py ended with {done.returncode}: {done.stderr[-500:]}')
    return '\n    '.join(lines)


def parts_a_second(count: int, folder: Path) -> float:
    """Return how many parts a second go through Ray."""
    out = folders.LocalFolder(folder / 'there')
    (folder / 'there/poses').mkdir(parents=True)
    names = [f'{i:012}.jpg' for i in range(count)]
    plan = shards.Plan(out)
    plan.add(names, 1)
    for part in plan.parts:
        (folder / 'there/poses' / part.name).touch()
    worker = (shards.Models(dict()), out, out)
    moments = [time.perf_counter() for _ in run.make_parts(plan.parts, cpu_count(), 1, *worker)]
    return (count - 1) / (moments[-1] - moments[0])


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('images', help='as for run.py')
    parser.add_argument('--actors', type=int, nargs='+', default=[1, 2, 4])
    parser.add_argument('--parts', type=int, default=1000, help='for Ray alone; 0: not')
    args, options = parser.parse_known_args()
    command = [sys.executable, str(Path(run.__file__)), args.images, *options]
    print(f'{cpu_count()} CPUs', flush=True)
    with tempfile.TemporaryDirectory() as folder:
        try:
            for actors in args.actors:
                print(
                    f'{actors} actors: {images_a_second(command, actors, Path(folder))}', flush=True
                )
            if args.parts:
                run.start_ray(run.parse_args([args.images, '--out', folder]))
                print(f'{parts_a_second(args.parts, Path(folder)):.0f} parts a second by Ray alone')
        except InputError as error:
            fail(error)
    return 0


if __name__ == '__main__':
    sys.exit(main())
