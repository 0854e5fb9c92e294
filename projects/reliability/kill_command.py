#!/usr/bin/env python
"""Kill a command again and again, start it again, and compare its end with an uninterrupted one.

    python projects/reliability/kill_command.py photographs --kills 30

photographs: lpn-pose on a folder, with two workers
export: tools/deployment/export.py of the shipped model
download: a detector from a server on this machine that sends slowly
iterative: tools/iterative_train.py, two stages on a few drawn planes

The command is killed (SIGKILL) at random moments and started again until it
ends, in rounds. Its files must be those of an uninterrupted run, byte by byte
(the weights and the record of iterative training), and no half file may ever
have a final name. The exit status is 1 if that does not hold.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = ROOT / 'lpn_mmpose/weights/lpn50_body19-192x144.pth'
CONFIG = ROOT / 'configs/body_2d_keypoint/lpn/body19/td-hm_lpn50_2xb16-60e_body19-192x144.py'


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Command:
    """A command that writes into a folder.

    Attributes:
        names: Pattern of the files that must never be half there.
    """

    names = '**/*'

    def __init__(self, args):
        self.args = args

    def line(self, out):
        """Return the command line that writes into ``out``."""
        raise NotImplementedError

    def files(self, out):
        """Return the digest of each final file by its name."""
        return {
            str(path.relative_to(out)): digest(path)
            for path in sorted(out.glob(self.names))
            if path.is_file() and self.final(path)
        }

    def final(self, path):
        """Return whether a file has a final name."""
        return '.part' not in path.name and path.suffix != '.lock'

    def problems(self, out):
        """Return what else is wrong with a run that has ended."""
        return []


class Photographs(Command):
    def __init__(self, args):
        super().__init__(args)
        import cv2
        import numpy as np

        self.folder = args.work_dir / 'photographs'
        self.folder.mkdir()
        photograph = cv2.imread(str(ROOT / 'demo/demo.jpg'))
        for i in range(args.files):
            moved = np.roll(photograph, (i, 2 * i), (0, 1))
            cv2.imwrite(str(self.folder / f'{i:04d}.jpg'), moved)

    def line(self, out):
        options = ['--out', out, '--workers', '2', '--threads', '1']
        return [sys.executable, '-m', 'lpn_mmpose.runtime.cli', self.folder, *options]

    def files(self, out):
        found = super().files(out)
        # the order and the times are those of the run
        return {name: value for name, value in found.items() if name != 'done.jsonl'}

    def problems(self, out):
        lines = (out / 'done.jsonl').read_text().splitlines()
        keys = [json.loads(line)['key'] for line in lines if line]
        wanted = [f'{i:04d}' for i in range(self.args.files)]
        return [] if sorted(keys) == wanted else [f'{len(keys)} photographs in done.jsonl']


class Export(Command):
    names = '*.onnx'

    def line(self, out):
        tool = ROOT / 'tools/deployment/export.py'
        return [sys.executable, tool, CONFIG, WEIGHTS, '--precision', 'fp16', '-o', out / 'a.onnx']


class SlowHandler(BaseHTTPRequestHandler):
    """Sends ``server.content``, or its rest, in a second or two."""

    def log_message(self, *_):
        pass

    def do_GET(self):
        content, start = self.server.content, 0
        wanted = self.headers.get('Range')
        if wanted:
            start = int(wanted.removeprefix('bytes=').rstrip('-'))
            self.send_response(206)
            self.send_header('Content-Range', f'bytes {start}-{len(content) - 1}/{len(content)}')
        else:
            self.send_response(200)
        self.send_header('Content-Length', str(len(content) - start))
        self.send_header('ETag', '"1"')
        self.end_headers()
        step = len(content) // 100
        for place in range(start, len(content), step):
            try:
                self.wfile.write(content[place : place + step])
            except OSError:  # killed
                return
            time.sleep(0.015)


class Download(Command):
    names = '*.onnx*'

    def __init__(self, args):
        super().__init__(args)
        self.server = ThreadingHTTPServer(('127.0.0.1', 0), SlowHandler)
        self.server.content = random.Random(0).randbytes(8_000_000)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def line(self, out):
        url = f'http://127.0.0.1:{self.server.server_port}/detector.onnx'
        code = (
            'import sys\nfrom pathlib import Path\n'
            'from lpn_mmpose.runtime.download import download\n'
            f'download({url!r}, Path(sys.argv[1]))'
        )
        return [sys.executable, '-c', code, out / 'detector.onnx']

    def problems(self, out):
        found = (out / 'detector.onnx').read_bytes()
        return [] if found == self.server.content else ['another file than the server has']


class Iterative(Command):
    names = 'stage_*/*.pth'

    def __init__(self, args):
        super().__init__(args)
        self.data = args.work_dir / 'data'
        maker = ROOT / 'projects/own_data/make_planes.py'
        command = [sys.executable, maker, '--out', self.data, '--images', '8']
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    def line(self, out):
        options = [
            'randomness.deterministic=True',
            'train_cfg.max_epochs=2',
            'train_cfg.val_interval=1',
            'train_dataloader.batch_size=4',
        ]
        for split in ('train', 'val'):
            loader = f'{split}_dataloader'
            options += [
                f'{loader}.num_workers=0',
                f'{loader}.persistent_workers=False',
                f'{loader}.dataset.data_root={self.data}/',
                f'{loader}.dataset.metainfo.from_file={ROOT}/projects/own_data/planes.py',
            ]
        config = ROOT / 'projects/own_data/configs/td-hm_lpn50_1xb32-10e_planes-96x96.py'
        tool = ROOT / 'tools/iterative_train.py'
        command = [sys.executable, tool, config, '--stages', '2', '--work-dir', out]
        return [*command, '--cfg-options', *options]

    def files(self, out):
        """Digests of the weights; a checkpoint also has the time in it."""
        from mmengine.runner import CheckpointLoader

        import lpn_mmpose  # noqa: F401, allows what MMEngine saves

        found = {}
        for path in sorted(out.glob(self.names)):
            state = CheckpointLoader.load_checkpoint(str(path), 'cpu')['state_dict']
            content = b''.join(value.numpy().tobytes() for value in state.values())
            found[str(path.relative_to(out))] = hashlib.sha256(content).hexdigest()
        return found

    def problems(self, out):
        stages = json.loads((out / 'stages.json').read_text())['stages']
        return [] if [s['epochs'] for s in stages] == [2, 2] else [f'stages {stages}']


COMMANDS = dict(photographs=Photographs, export=Export, download=Download, iterative=Iterative)


def start(command, out):
    out.mkdir(parents=True, exist_ok=True)
    env = dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1')
    log = (out.parent / f'{out.name}.log').open('a')
    line = list(map(str, command.line(out)))
    return subprocess.Popen(line, env=env, stdout=log, stderr=log, cwd=ROOT)


def succeed(process, out):
    if process.wait():
        log = (out.parent / f'{out.name}.log').read_text()
        sys.exit(f'status {process.returncode}:\n{log[-3000:]}')


def killed_round(command, out, kills, seconds, whole, rng):
    """Run into ``out`` with up to ``kills`` kills; return their number and what is wrong."""
    wrong = []
    for done in range(kills):
        process = start(command, out)
        try:
            process.wait(rng.uniform(0, seconds))
            succeed(process, out)
            return done, wrong
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        wrong += [
            f'{name} was another one after a kill'
            for name, value in command.files(out).items()
            if value != whole.get(name)
        ]
    succeed(start(command, out), out)
    return kills, wrong


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('command', choices=COMMANDS)
    parser.add_argument('--kills', type=int, default=30, help='default: 30')
    parser.add_argument('--per-round', type=int, default=5, help='kills of a run (default: 5)')
    parser.add_argument('--files', type=int, default=100, help='photographs (default: 100)')
    parser.add_argument('--seed', type=int, default=0, help='of the moments (default: 0)')
    parser.add_argument('--work-dir', type=Path, default=Path('outputs/kill_command'))
    args = parser.parse_args()
    for name in ('kills', 'per_round', 'files'):
        if getattr(args, name) < 1:
            parser.error(f'--{name.replace("_", "-")} must be positive, got {getattr(args, name)}')
    return args


def main():
    args = parse_args()
    args.work_dir = args.work_dir.resolve()
    if args.work_dir.exists():
        sys.exit(f'error: {args.work_dir} is there already; give another --work-dir')
    args.work_dir.mkdir(parents=True)
    command = COMMANDS[args.command](args)
    out = args.work_dir / 'whole'
    begin = time.monotonic()
    succeed(start(command, out), out)
    seconds = time.monotonic() - begin
    whole = command.files(out)
    print(f'uninterrupted: {len(whole)} files in {seconds:.1f} s', flush=True)
    if not whole:
        sys.exit(f'no files in {out}')
    rng, done, rounds, failed = random.Random(args.seed), 0, 0, 0
    while done < args.kills:
        out = args.work_dir / f'round_{rounds}'
        kills = min(args.per_round, args.kills - done)
        count, wrong = killed_round(command, out, kills, seconds, whole, rng)
        files = command.files(out)
        wrong += [
            f'{name} differs'
            for name in sorted(whole.keys() | files.keys())
            if whole.get(name) != files.get(name)
        ]
        wrong += [f'{path} is left' for path in out.rglob('*') if '.part' in path.name]
        wrong += command.problems(out)
        done, rounds, failed = done + count, rounds + 1, failed + bool(wrong)
        outcome = 'the same' if not wrong else '; '.join(wrong[:3])
        print(f'round {rounds}: {count} kills; {outcome}', flush=True)
        if not wrong:
            shutil.rmtree(out)
    outcome = 'all end with the same files' if not failed else f'{failed} NOT with the same files'
    print(f'{args.command}: {done} kills in {rounds} runs: {outcome}')
    sys.exit(bool(failed))


if __name__ == '__main__':
    main()
