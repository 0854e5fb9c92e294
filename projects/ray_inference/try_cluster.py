#!/usr/bin/env python
"""Kill a run, and one of two nodes, and see that every image is in the result once.

Starts a Ray cluster of two nodes with a CPU each on this machine (Linux), in a temporary folder.
Begins a run and kills it (SIGKILL); gives the same command again, and kills the second node, its
raylet and its workers, while it works; then gives it once more. What is checked: all images
stand in the Parquet files, with the persons 0, 1, … once each; the files that were there before a
call are the same after it; the last call has nothing to do.

python projects/ray_inference/try_cluster.py photos/ --det yolox-nano
"""

import argparse
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

import folders

from lpn_mmpose.errors import InputError, fail

RUN = Path(__file__).with_name('run.py')
#: Seconds after which something hangs.
LIMIT = 600


def processes_of(session: int) -> dict[int, str]:
    """Return process ids and names of a session, that of a ``ray start``."""
    found = {}
    for stat in Path('/proc').glob('[0-9]*/stat'):
        try:
            name, _, fields = stat.read_text().partition('(')[2].rpartition(')')
        except OSError:  # it has ended
            continue
        state, *numbers = fields.split()
        if int(numbers[2]) == session and state != 'Z':
            found[int(stat.parent.name)] = name
    return found


class Cluster:
    """Two nodes, each a ``ray start`` in a session of its own.

    Args:
        folder (Path): For Ray's files; a short path, for its sockets.
        port (int): Of the head.
    """

    def __init__(self, folder: Path, port: int) -> None:
        self._folder, self.address = folder, f'127.0.0.1:{port}'
        self._port, self._nodes = port, []

    def _start(self, *options: str) -> None:
        command = [str(Path(sys.executable).with_name('ray')), 'start', '--block']
        command += ['--num-cpus', '1', '--object-store-memory', '150000000', *options]
        with (self._folder / f'node{len(self._nodes)}.log').open('w') as log:
            node = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._nodes.append(node.pid)

    def start(self) -> None:
        """Start the head, then the second node."""
        self._start(
            *('--head', '--port', str(self._port), '--include-dashboard', 'false'),
            *('--temp-dir', str(self._folder / 'ray')),
        )
        self._wait_for(1)
        self._start('--address', self.address)
        self._wait_for(2)

    def _wait_for(self, count: int) -> None:
        code = (
            'import ray, sys; ray.init(sys.argv[1], log_to_driver=False, logging_level="ERROR"); '
            'print(sum(node["Alive"] for node in ray.nodes()))'
        )
        begin = time.monotonic()
        while time.monotonic() < begin + LIMIT / 5:
            time.sleep(2)
            command = [sys.executable, '-c', code, self.address]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.stdout.strip() == str(count):
                return
        log = self._folder / f'node{len(self._nodes) - 1}.log'
        raise InputError(f'Ray does not start: {done.stderr[-300:]} {log.read_text()[-300:]}')

    def kill(self, number: int) -> list[str]:
        """Kill a node's raylet and all that came of it; return the names of the processes."""
        names = []
        while found := processes_of(self._nodes[number]):
            for pid, name in found.items():
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
                names.append(name)
            time.sleep(0.1)
        return names

    def end(self) -> None:
        """Kill what is left of both nodes."""
        for number in reversed(range(len(self._nodes))):
            self.kill(number)


def parts_in(out: Path) -> dict[str, int]:
    """Return the parts that are there, with the times of their files."""
    return {path.name: path.stat().st_mtime_ns for path in (out / 'poses').glob('part-*')}


def made_by(path: Path) -> str:
    """Return which process made a part."""
    return json.loads(folders.parquet().read_schema(path).metadata[b'lpn_mmpose'])['made_by']


class Trial:
    """Calls of the same command, and what is checked of each.

    Args:
        command (list[str]): The command.
        out (Path): Its ``--out``.
    """

    def __init__(self, command: list[str], out: Path) -> None:
        self._command, self._out, self.wrong = command, out, []

    def _makers(self, parts: Iterable[str]) -> Counter:
        """Return how many of some parts each process made."""
        return Counter(made_by(self._out / 'poses' / name) for name in parts)

    def call(self, what: str, count: int | None = None, kill: Callable | None = None) -> None:
        """Give the command; when ``count`` parts more are there, kill it or call ``kill``.

        They must be of two processes, so that both nodes are at work.
        """
        before, begin = parts_in(self._out), time.monotonic()
        process = subprocess.Popen(
            self._command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        try:
            while count is not None and process.poll() is None:
                new = parts_in(self._out).keys() - before.keys()
                if len(new) >= count and len(self._makers(new)) > 1:
                    if kill is None:
                        process.kill()
                        what += ', killed'
                    else:
                        what += f', {kill()}'
                    break
                if time.monotonic() > begin + LIMIT:
                    raise InputError(f'{what}: no {count} parts in {LIMIT} s')
                time.sleep(0.05)
            text, _ = process.communicate(timeout=LIMIT)
        finally:
            process.kill()
        after = parts_in(self._out)
        changed = [name for name, moment in before.items() if after.get(name) != moment]
        if changed:
            self.wrong.append(f'{what}: written again: {changed}')
        print(
            f'{what}: status {process.returncode}, {time.monotonic() - begin:.0f} s; '
            f'{len(before)} parts before, {len(after)} after, the new ones by process: '
            f'{list(self._makers(after.keys() - before.keys()).values())}',
            flush=True,
        )
        for line in text.splitlines():
            if line.startswith(('images:', 'not done', 'error', 'note')):
                print(f'    {line}', flush=True)
        if count is None and process.returncode:
            self.wrong.append(f'{what}: status {process.returncode}: {text[-500:]}')


def check(names: list[str], out: Path) -> tuple[str, list[str]]:
    """Return what the result holds, and what is wrong with it."""
    persons, wrong = defaultdict(list), []
    for path in sorted((out / 'poses').iterdir()):
        if not path.name.startswith('part-'):
            wrong.append(f'left behind: {path.name}')
            continue
        for row in folders.parquet().read_table(path).to_pylist():
            persons[row['image']].append(row['person'])
    for name in sorted({*names, *persons}):
        count = len(persons[name])
        if name not in names or persons[name] not in (list(range(count)), [None]):
            wrong.append(f'{name}: persons {persons[name]}')
    text = (
        f'{len(names)} images were given; {sum(map(bool, persons.values()))} are in the result, '
        f'{len(wrong)} of them wrongly; {sum(map(len, persons.values()))} rows'
    )
    return text, wrong


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('images', help='as for run.py; some hundred')
    parser.add_argument('--root', help='as for run.py')
    parser.add_argument('--det', help='as for run.py')
    parser.add_argument('--batch', type=int, default=10, help='images in a part (default: 10)')
    parser.add_argument('--port', type=int, default=6411, help='of the head (default: 6411)')
    args = parser.parse_args()
    if args.batch < 1:
        parser.error(f'--batch must be positive, got {args.batch}')
    # a token of this cluster's own, whatever the user has for others
    os.environ.update(
        RAY_AUTH_MODE='token', RAY_AUTH_TOKEN=secrets.token_hex(32), RAY_USAGE_STATS_ENABLED='0'
    )
    folder = Path(tempfile.mkdtemp(prefix='lpn-'))
    cluster = Cluster(folder, args.port)
    try:
        _, names, _ = folders.find_images(args.images, args.root)
        parts = -(-len(names) // args.batch)
        if parts < 12:
            raise InputError(f'{args.images} makes {parts} parts: give a smaller --batch')
        out = folder / 'out'
        folders.parquet()
        cluster.start()
        command = [sys.executable, str(RUN), args.images, '--out', str(out)]
        command += ['--address', cluster.address, '--batch', str(args.batch)]
        for name in ('det', 'root'):
            command += [f'--{name}', getattr(args, name)] if getattr(args, name) else []
        trial = Trial(command, out)
        trial.call('first call', parts // 4)
        trial.call(
            'same command',
            parts // 4,
            lambda: f'second node killed ({len(cluster.kill(1))} processes)',
        )
        trial.call('same command')
        text, wrong = check(names, out)
        print(text)
        wrong += trial.wrong
    except InputError as error:
        fail(error)
    finally:
        cluster.end()
        shutil.rmtree(folder, ignore_errors=True)
    print('\n'.join(wrong) or 'every image once')
    return int(bool(wrong))


if __name__ == '__main__':
    sys.exit(main())
