#!/usr/bin/env python
"""Print images a second by the number of actors, and what else limits a large run.

How many parts a second Ray hands out is timed with parts that are there already, so that an actor
only looks and returns: what the head node and Ray cost, without the work.

python projects/ray_inference/measure.py photos/ --det yolox-nano
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import folders
import run
import shards

from lpn_mmpose.errors import InputError, fail
from lpn_mmpose.runtime.engines import cpu_count
from lpn_mmpose.runtime.media import decode_image
from lpn_mmpose.runtime.soak import resident_mb


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


def large_photograph(images: str, root: str | None) -> str:
    """Time the decoding of the first image, enlarged to 12 megapixels, on one thread."""
    folder, names, _ = folders.find_images(images, root)
    image = cv2.resize(decode_image(folder.read(names[0]), names[0]), (4000, 3000))
    content = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    cv2.setNumThreads(1)
    begin = time.process_time()
    for _ in range(10):
        decode_image(content, names[0])
    spent = (time.process_time() - begin) / 10
    return f'12 megapixels, {len(content) / 1e6:.1f} MB: {1000 * spent:.0f} ms of CPU time'


def names_in_memory(count: int, folder: Path) -> str:
    """Plan so many images, and say what it takes."""
    before, begin = resident_mb(), time.process_time()
    names = [f'folder{i // 10000:06}/image{i:012}.jpg' for i in range(count)]
    plan = shards.Plan(folders.LocalFolder(folder / 'names'))
    plan.add(plan.unplanned(names), 1000)
    again = shards.Plan(folders.LocalFolder(folder / 'names'))
    left = again.unplanned(names)
    return (
        f'{count} names planned, and {count - len(left)} found again: '
        f'{time.process_time() - begin:.1f} s, {resident_mb() - before:.0f} MB'
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('images', help='as for run.py')
    parser.add_argument('--actors', type=int, nargs='+', default=[1, 2, 4])
    parser.add_argument('--parts', type=int, default=1000, help='for Ray alone; 0: not')
    parser.add_argument('--root', help='as for run.py')
    args, options = parser.parse_known_args()
    options += ['--root', args.root] if args.root else []
    command = [sys.executable, str(Path(run.__file__)), args.images, *options]
    print(f'{cpu_count()} CPUs', flush=True)
    with tempfile.TemporaryDirectory() as folder:
        try:
            print(large_photograph(args.images, args.root))
            print(names_in_memory(1_000_000, Path(folder)), flush=True)
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
