#!/usr/bin/env python
"""Time lpn-pose on many photographs or on a video, beside its networks alone.

The networks alone are calls of the same engines for as many images and for the persons in the
results, on inputs that are ready, in as many processes and threads. Both are measured in turns, so that what
slows the machine down slows both; the CPU time of other programs counts in neither of the two
CPU times. A video's networks are measured in two ways: frame by frame, and with all persons of all
frames known before, so that no thread ever waits.

python projects/cpu_benchmark/throughput.py FOLDER --det yolox-nano --workers 2
python projects/cpu_benchmark/throughput.py VIDEO --det yolox-nano --track
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lpn_mmpose.errors import InputError, fail
from lpn_mmpose.runtime import cli
from lpn_mmpose.runtime.engines import cpu_count
from lpn_mmpose.runtime.media import find_inputs, silence_decoders
from lpn_mmpose.runtime.soak import resident_mb


class Call(NamedTuple):
    """A call of an engine."""

    engine: str
    shape: tuple[int, ...]
    dtype: str


class Recorder:
    """An engine that notes what it is called with."""

    def __init__(self, engine, name, calls):
        self._engine, self._name, self._calls = engine, name, calls

    def __getattr__(self, name):
        return getattr(self._engine, name)

    def __call__(self, images):
        self._calls.append(Call(self._name, images.shape, images.dtype.name))
        return self._engine(images)

    def run_single(self, images):
        self._calls.append(Call(self._name, images.shape, images.dtype.name))
        return self._engine.run_single(images)


def times():
    """Return wall time, and CPU time of this process."""
    return np.array([time.perf_counter(), time.process_time()])


def replay(engines, calls, apart=False):
    """Make the calls again, on inputs that are ready; return wall and CPU time in s.

    With ``apart``, each image or person has a thread that waits for no other, not even at a frame's
    end.
    """
    inputs = {call: np.full(call.shape, 114, call.dtype) for call in set(calls)}

    def make(calls):
        running = []
        for call in calls:
            engine, images = engines[call.engine], inputs[call]
            if apart:
                running += [engine.submit(engine.run_single, image[None]) for image in images]
            else:
                engine(images)
        for job in running:
            job.result()

    make(list(inputs))
    begin = times()
    make(calls)
    return times() - begin


def count_persons(path):
    """Return how many persons an image's or each frame's results have."""
    frames = json.loads(path.read_text())
    if frames and 'instances' in frames[0]:
        return [len(frame['instances']) for frame in frames]
    return [len(frames)]


def needed_calls(engines, recorded, counts, detections):
    """Return the calls that the results need: a detector's, then the pose model's by frame."""
    detection = next(call for call in recorded if call.engine == 'det')
    width, height = engines['pose'].meta.input_size
    poses = [Call('pose', (count, height, width, 3), 'uint8') for count in counts if count]
    return [detection] * detections + poses


def make_app(argv):
    args = cli.parse_args(argv)
    return cli.App(args)


def engines_of(app):
    return dict(pose=app.pose._engine, det=app.detector.engine)


def record(app, engines):
    """Run lpn-pose here; return wall and CPU time in s, calls, and memory over time."""
    calls, memory = [], []
    app.pose._engine = Recorder(engines['pose'], 'pose', calls)
    app.detector.engine = Recorder(engines['det'], 'det', calls)
    draw = cli.to_mmpose

    def counted(persons):
        memory.append(resident_mb())
        return draw(persons)

    cli.to_mmpose = counted
    begin = times()
    app.run()
    spent = times() - begin
    cli.to_mmpose = draw
    return spent, calls, memory


def replay_part(argv, calls, ready, queue):
    engines = engines_of(make_app(argv))
    replay(engines, calls[:4])
    ready.wait()
    queue.put(replay(engines, calls))


def networks_in_processes(argv, calls, workers):
    """Share the calls among processes; return wall and CPU time in s."""
    context = get_context('spawn')
    queue, ready = context.Queue(), context.Barrier(workers)
    processes = [
        context.Process(target=replay_part, args=(argv, calls[i::workers], ready, queue))
        for i in range(workers)
    ]
    for process in processes:
        process.start()
    spent = np.array([queue.get() for _ in processes])
    for process in processes:
        process.join()
    return np.array([spent[:, 0].max(), spent[:, 1].sum()])


def spawn_command(argv):
    """Run lpn-pose as a command; return wall and CPU time in s, its processes' too."""
    begin = np.array([time.perf_counter(), sum(os.times()[2:4])])
    code = 'import sys; from lpn_mmpose.runtime.cli import main; sys.exit(main())'
    status = subprocess.run(
        [sys.executable, '-c', code, *argv], stdout=subprocess.DEVNULL
    ).returncode
    if status > 1:
        raise InputError(f'lpn-pose {" ".join(argv)} ended with {status}')
    return np.array([time.perf_counter(), sum(os.times()[2:4])]) - begin


def photographs(args, options, out):
    inputs = find_inputs(args.input)
    if len(inputs) <= args.workers:
        raise InputError(
            f'{args.input} holds {len(inputs)} photographs: the first of each of {args.workers} '
            'processes does not count, so more are needed'
        )
    few = out / 'few'  # a photograph for each process, which costs little but their start
    few.mkdir()
    for item in inputs[: args.workers]:
        (few / Path(item.source).name).symlink_to(Path(item.source).resolve())
    few = [str(few), *options, '--out', str(out / 'start'), '--overwrite']
    all_of_them = [args.input, *options, '--out', str(out / 'all'), '--overwrite']
    app_argv = [str(inputs[0].source), *options, '--out', str(out / 'app')]
    calls, rows = None, []
    for _ in range(args.rounds):
        start = spawn_command(few)
        run = spawn_command(all_of_them) - start
        if calls is None:
            app = make_app([*app_argv, '--overwrite'])
            engines = engines_of(app)
            _, first, _ = record(app, engines)
            calls = []
            for path in sorted((out / 'all/predictions').rglob('*.json'))[args.workers :]:
                calls += needed_calls(engines, first, count_persons(path), 1)
        rows.append((run, networks_in_processes(app_argv, calls, args.workers), start))
    return rows, len(inputs) - args.workers, []


def video(args, options, out):
    rows, memory, engines = [], [], None
    for i in range(args.rounds + 1):
        app = make_app([args.input, *options, '--out', str(out / f'video{i}')])
        engines = engines or engines_of(app)  # the first round loads them, and does not count
        spent, recorded, memory = record(app, engines)
        detections = sum(call.engine == 'det' for call in recorded)
        counts = count_persons(app.prediction(app.inputs[0]))
        calls = needed_calls(engines, recorded, counts, detections)
        rows.append((spent, replay(engines, calls), replay(engines, calls, apart=True)))
    return rows[1:], len(memory), memory


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('input', help='folder of photographs, or a video')
    parser.add_argument('--det', default='yolox-nano')
    parser.add_argument('--workers', type=int, default=1)
    parser.add_argument('--rounds', type=int, default=3)
    args, options = parser.parse_known_args()
    for name in ('workers', 'rounds'):
        if getattr(args, name) < 1:
            parser.error(f'--{name} must be positive, got {getattr(args, name)}')
    return args, ['--det', args.det, '--workers', str(args.workers), *options]


def main():
    args, options = parse_args()
    silence_decoders()
    try:
        is_video = find_inputs(args.input)[0].frames
        with tempfile.TemporaryDirectory() as out:
            rows, count, memory = (video if is_video else photographs)(args, options, Path(out))
    except InputError as error:
        fail(error)
    what = 'frames' if is_video else 'photographs'
    print(f'{count} {what}, {cpu_count()} CPUs, {" ".join(options)}')
    ways = ['networks alone']
    if is_video:
        ways.append('networks alone, all persons of all frames known before')
    for i, name in enumerate(('wall', 'CPU')):
        run = statistics.median(row[0][i] for row in rows)
        print(f'{name:5} lpn-pose {run:7.2f} s ({count / run:6.1f} a second)')
        for j, way in enumerate(ways, 1):
            alone = statistics.median(row[j][i] for row in rows)
            ratio = statistics.median(row[0][i] / row[j][i] for row in rows)
            print(
                f'      {way} {alone:7.2f} s ({count / alone:6.1f}): {ratio:.3f} x the time, '
                f'{1 / ratio:.3f} x the speed'
            )
    if memory:
        fifth = max(len(memory) // 5, 1)
        print(f'memory: {memory[fifth]:.0f} MB after a fifth, {memory[-1]:.0f} MB at the end')
    elif not is_video:
        wall, cpu = rows[0][2]
        print(f'left out: start and {args.workers} photographs, {wall:.2f} s, CPU {cpu:.2f} s')


if __name__ == '__main__':
    main()
