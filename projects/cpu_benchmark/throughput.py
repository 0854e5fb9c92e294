#!/usr/bin/env python
"""Time lpn-pose on many photographs or on a video, beside its networks alone.

The networks alone are the same calls of the same engines with the same number of persons, on
inputs that are ready, in as many processes and threads. Both are measured in turns, so that what
slows the machine down slows both; the CPU time of other programs counts in neither of the two
CPU times.

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

import numpy as np

from lpn_mmpose.errors import InputError, fail
from lpn_mmpose.runtime import cli
from lpn_mmpose.runtime.engines import cpu_count
from lpn_mmpose.runtime.media import find_inputs
from lpn_mmpose.runtime.soak import resident_mb


class Recorder:
    """An engine that notes how many images it is called with."""

    def __init__(self, engine, name, calls):
        self._engine, self._name, self._calls = engine, name, calls

    def __getattr__(self, name):
        return getattr(self._engine, name)

    def __call__(self, images):
        self._calls.append((self._name, images.shape, images.dtype.name))
        return self._engine(images)


def times():
    """Return wall time, and CPU time of this process."""
    return np.array([time.perf_counter(), time.process_time()])


def replay(engines, calls):
    """Make the calls again, on inputs that are ready; return wall and CPU time in s."""
    inputs = {call: np.full(call[1], 114, call[2]) for call in set(calls)}
    for call in inputs:
        engines[call[0]](inputs[call])
    begin = times()
    for call in calls:
        engines[call[0]](inputs[call])
    return times() - begin


def make_app(argv):
    args = cli.parse_args(argv)
    return cli.App(args)


def record(argv):
    """Run lpn-pose here; return wall and CPU time in s, calls, engines and memory over time."""
    app = make_app(argv)
    calls, memory = [], []
    engines = dict(pose=app.pose._engine, det=app.detector.engine)
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
    return spent, calls, engines, memory


def replay_part(argv, calls, ready, queue):
    app = make_app(argv)
    engines = dict(pose=app.pose._engine, det=app.detector.engine)
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
            _, first, _, _ = record([*app_argv, '--overwrite'])
            shapes = {call[0]: call for call in first}
            calls = []
            for path in sorted((out / 'all/predictions').rglob('*.json'))[args.workers :]:
                calls.append(shapes['det'])
                count = len(json.loads(path.read_text()))
                if count and 'pose' in shapes:
                    name, shape, dtype = shapes['pose']
                    calls.append((name, (count, *shape[1:]), dtype))
        rows.append((run, networks_in_processes(app_argv, calls, args.workers), start))
    return rows, len(inputs) - args.workers, []


def video(args, options, out):
    rows, memory, frames = [], [], 0
    for i in range(args.rounds):
        argv = [args.input, *options, '--out', str(out / f'video{i}')]
        spent, calls, engines, memory = record(argv)
        frames = len(memory)
        rows.append((spent, replay(engines, calls), np.zeros(2)))
    return rows, frames, memory


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('input', help='folder of photographs, or a video')
    parser.add_argument('--det', default='yolox-nano')
    parser.add_argument('--workers', type=int, default=1)
    parser.add_argument('--rounds', type=int, default=3)
    args, options = parser.parse_known_args()
    return args, ['--det', args.det, '--workers', str(args.workers), *options]


def main():
    args, options = parse_args()
    try:
        is_video = find_inputs(args.input)[0].frames
        with tempfile.TemporaryDirectory() as out:
            rows, count, memory = (video if is_video else photographs)(args, options, Path(out))
    except InputError as error:
        fail(error)
    what = 'frames' if is_video else 'photographs'
    print(f'{count} {what}, {cpu_count()} CPUs, {" ".join(options)}')
    for i, name in enumerate(('wall', 'CPU')):
        run, alone = (statistics.median(row[j][i] for row in rows) for j in (0, 1))
        ratio = statistics.median(row[0][i] / row[1][i] for row in rows)
        print(
            f'{name:5} lpn-pose {run:7.2f} s ({count / run:6.1f} a second), networks alone '
            f'{alone:7.2f} s ({count / alone:6.1f}): {ratio:.3f} x the time, {1 / ratio:.3f} x '
            'the speed'
        )
    if memory:
        fifth = max(len(memory) // 5, 1)
        print(f'memory: {memory[fifth]:.0f} MB after a fifth, {memory[-1]:.0f} MB at the end')
    elif not is_video:
        wall, cpu = rows[0][2]
        print(f'left out: start and {args.workers} photographs, {wall:.2f} s, CPU {cpu:.2f} s')


if __name__ == '__main__':
    main()
