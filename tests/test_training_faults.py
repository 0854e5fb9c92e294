"""Signals, kills, full disks and second runs, while a training goes on."""

import ctypes
import gc
import multiprocessing
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
import torch
from mmcv.transforms import BaseTransform
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpose.registry import TRANSFORMS
from paths import LSPET, ROOT, SMALL

from lpn_mmpose.engine import AtomicLocalBackend
from lpn_mmpose.engine.stop_hook import resume_command
from lpn_mmpose.errors import InputError
from lpn_mmpose.utils.config import set_input_size
from lpn_mmpose.utils.work_dir_lock import lock_work_dir

EPOCHS = 2


def small_config(work_dir, resume=False):
    """LSP's config with its augmentation on tiny images: four iterations an epoch."""
    cfg = Config.fromfile(LSPET)
    set_input_size(cfg, (64, 64))
    cfg.model.backbone.norm_eval = True  # of batches of one image
    for split in ('train', 'val'):
        cfg[f'{split}_dataloader'].update(batch_size=1, num_workers=0, persistent_workers=False)
    cfg.train_cfg.update(max_epochs=EPOCHS, val_interval=1)
    cfg.randomness.update(deterministic=True)
    cfg.default_hooks.logger.interval = 1
    cfg.update(work_dir=str(work_dir), resume=resume, experiment_name=work_dir.name)
    return cfg


class _Stack(ctypes.Structure):
    _fields_ = [('sp', ctypes.c_void_p), ('flags', ctypes.c_int), ('size', ctypes.c_size_t)]


@pytest.fixture(autouse=True)
def signals_on_the_plain_stack():
    """Leave out the small stack that pytest's faulthandler gives to signals.

    Once OpenVINO has used AMX in this process, a signal's frame no longer fits into it, and the
    system ends the process. Trainings have no such stack.
    """
    libc, former = ctypes.CDLL(None), _Stack()
    disabled = _Stack(None, 2, 0)  # SS_DISABLE
    assert libc.sigaltstack(ctypes.byref(disabled), ctypes.byref(former)) == 0
    yield
    libc.sigaltstack(ctypes.byref(former), None)


class Signal(Hook):
    """Send this process a signal after an iteration."""

    def __init__(self, stage, at, number, workers=False):
        self.stage, self.at, self.number, self.workers = stage, at, number, workers

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.send('train', runner.iter)

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.send('val', batch_idx)

    def send(self, stage, index):
        if (stage, index) == (self.stage, self.at):
            self.at = None
            if self.workers:
                for worker in multiprocessing.active_children():
                    # PyTorch's workers know their parent's
                    subprocess.run(['kill', f'-{self.number}', str(worker.pid)], check=True)
                    self.workers = worker
                time.sleep(0.5)
            os.kill(os.getpid(), self.number)


@pytest.fixture(scope='module')
def trained(data, tmp_path_factory):
    """Train in this process, and return the runner."""

    def train(cfg, hook=None):
        folder = os.getcwd()
        os.chdir(data)
        try:
            runner = Runner.from_cfg(cfg)
            if hook is not None:
                runner.register_hook(hook)
            runner.train()
        finally:
            os.chdir(folder)
            torch.use_deterministic_algorithms(False)
        return runner

    return train


@pytest.fixture(scope='module')
def whole(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp('whole')
    trained(small_config(folder))
    return torch.load(folder / f'epoch_{EPOCHS}.pth', weights_only=True)


def states(checkpoint):
    yield from checkpoint['state_dict'].items()
    yield from checkpoint['ema_state_dict'].items()
    for index, state in checkpoint['optimizer']['state'].items():
        yield from ((f'{index}.{key}', value) for key, value in state.items())


@pytest.mark.parametrize(
    'stage, at, number',
    [('train', 1, signal.SIGTERM), ('train', 3, signal.SIGINT), ('val', 2, signal.SIGTERM)],
)
def test_signal_saves_and_resume_loses_nothing(stage, at, number, trained, whole, tmp_path, capsys):
    handler = signal.getsignal(number)
    with pytest.raises(SystemExit) as end:
        trained(small_config(tmp_path), Signal(stage, at, number))
    signal.signal(number, handler)  # the process goes on here alone
    assert end.value.code == 128 + number
    printed = capsys.readouterr().out
    done = at + 1 if stage == 'train' else 4
    assert f'iteration {done}, saved {tmp_path / "interrupted.pth"}' in printed
    assert 'go on with: python ' in printed and '--resume' in printed
    saved = torch.load(tmp_path / 'interrupted.pth', weights_only=True)
    assert saved['meta']['iter'] == done

    runner = trained(small_config(tmp_path, resume=True))
    assert runner.iter == 4 * EPOCHS and runner.epoch == EPOCHS
    again = torch.load(tmp_path / f'epoch_{EPOCHS}.pth', weights_only=True)
    expected = dict(states(whole))
    found = dict(states(again))
    assert found.keys() == expected.keys()
    for key, value in found.items():
        assert torch.equal(value, expected[key]), key
    assert not (tmp_path / 'interrupted.pth').exists(), 'newer checkpoints replace it'
    assert signal.getsignal(number) is handler


def count_iterations(cfg, iterations):
    """Let a small config train without epochs, with a data worker."""
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=iterations, val_interval=100)
    sampler = dict(type='InfiniteSampler', shuffle=False)
    cfg.train_dataloader.update(sampler=sampler, num_workers=1)
    cfg.log_processor.by_epoch = False
    cfg.default_hooks.checkpoint.update(by_epoch=False, interval=5, save_best=None)
    cfg.param_scheduler = []


class Inputs(Hook):
    def __init__(self):
        self.seen = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.seen.append(data_batch['inputs'][0].clone())


def test_augmentation_without_epochs(trained, tmp_path):
    """A sample is another one each time, and a resumed training sees the same ones."""

    def inputs(folder, iterations, resume=False):
        cfg = small_config(folder, resume)
        count_iterations(cfg, iterations)
        hook = Inputs()
        trained(cfg, hook)
        return hook.seen

    whole = inputs(tmp_path / 'whole', 8)
    assert not any(torch.equal(whole[i], whole[i + 4]) for i in range(4))
    inputs(tmp_path / 'parts', 5)
    resumed = inputs(tmp_path / 'parts', 8, resume=True)
    assert all(torch.equal(a, b) for a, b in zip(resumed, whole[5:], strict=True))


class WorseEveryEpoch(Hook):
    """Give each epoch a lower score, and fail in the first one's evaluation if told to."""

    priority = 'VERY_HIGH'

    def __init__(self, fails):
        self.fails = fails

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if self.fails and runner.epoch == 1:
            raise KeyError('as a kill would end it')

    def after_val_epoch(self, runner, metrics=None):
        metrics['torso/PCK@0.2'] = 1 / runner.epoch


def test_epoch_killed_in_its_evaluation_can_be_the_best(trained, tmp_path):
    with pytest.raises(KeyError):
        trained(small_config(tmp_path), WorseEveryEpoch(fails=True))
    assert (tmp_path / 'epoch_1.pth').exists() and not list(tmp_path.glob('best_*'))
    trained(small_config(tmp_path, resume=True), WorseEveryEpoch(fails=False))
    (best,) = tmp_path.glob('best_*')
    assert best.name.endswith('_epoch_1.pth')


def test_resume_without_validation(trained, tmp_path):
    for resume in (False, True):
        cfg = small_config(tmp_path, resume)
        cfg.update(val_cfg=None, val_dataloader=None, val_evaluator=None)
        cfg.default_hooks.checkpoint.save_best = None
        cfg.train_cfg.max_epochs = 2 if resume else 1
        assert trained(cfg).epoch == cfg.train_cfg.max_epochs


@pytest.mark.parametrize('by_epoch', [True, False])
def test_signal_to_data_workers_as_well(by_epoch, trained, tmp_path, capsys):
    """Launchers send it to a whole group of processes."""
    cfg = small_config(tmp_path)
    if not by_epoch:
        count_iterations(cfg, 8)
        cfg.train_dataloader.persistent_workers = True
    cfg.train_dataloader.update(num_workers=1, prefetch_factor=1)
    hook = Signal('train', 1, signal.SIGTERM, workers=True)
    with pytest.raises(SystemExit) as end:
        trained(cfg, hook)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    assert end.value.code == 143
    assert f'iteration 2, saved {tmp_path / "interrupted.pth"}' in capsys.readouterr().out
    del end  # and with it the training
    gc.collect()
    hook.workers.join(60)  # now it ends
    assert not hook.workers.is_alive()


@pytest.mark.parametrize(
    'given, command',
    [
        (['train.py', 'a b.py'], "python train.py 'a b.py' --resume"),
        (['train.py', 'a.py', '--resume'], 'python train.py a.py --resume'),
        (['train.py', 'a.py', '--resume', '--amp'], 'python train.py a.py --amp --resume'),
        (['train.py', 'a.py', '--resume', 'b.pth', '--amp'], 'python train.py a.py --amp --resume'),
        (['train.py', 'a.py', '--resume=b.pth'], 'python train.py a.py --resume'),
        (['iterative.py', 'a.py', '--stages=3'], 'python iterative.py a.py --stages=3'),
    ],
)
def test_how_to_go_on(given, command, monkeypatch):
    monkeypatch.setattr(sys, 'orig_argv', ['python', *given])
    monkeypatch.setattr(sys, 'argv', [word for word in given if 'stages' not in word])
    assert resume_command() == command


def test_how_to_go_on_with_several_processes(monkeypatch):
    monkeypatch.setenv('LOCAL_WORLD_SIZE', '2')
    given = ['tools/train.py', 'a.py', '--launcher', 'pytorch', '--work-dir', 'out', '--resume']
    monkeypatch.setattr(sys, 'argv', given)
    command = 'bash tools/dist_train.sh a.py 2 --work-dir out --resume'
    assert resume_command() == command


def test_another_batch_size_begins_the_epoch_anew(trained, tmp_path, caplog):
    with pytest.raises(SystemExit):
        trained(small_config(tmp_path), Signal('train', 1, signal.SIGTERM))
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    cfg = small_config(tmp_path, resume=True)
    cfg.train_dataloader.batch_size = 2
    assert trained(cfg).iter == 2 + 2 * EPOCHS


def test_second_run_in_a_work_directory(fails, tmp_path):
    code = (
        'import sys, time\n'
        'from lpn_mmpose.utils.work_dir_lock import lock_work_dir\n'
        f'lock_work_dir({str(tmp_path)!r})\n'
        'print("locked", flush=True)\n'
        'time.sleep(600)\n'
    )
    env = dict(os.environ, PYTHONPATH=str(ROOT))
    other = subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE, env=env)
    try:
        assert other.stdout.readline() == b'locked\n'
        before = sorted(tmp_path.rglob('*'))
        line = fails('train.py', LSPET, '--work-dir', tmp_path)
        assert f'{tmp_path} is in use by process {other.pid}' in line
        assert sorted(tmp_path.rglob('*')) == before
    finally:
        other.kill()
        other.wait()
    (tmp_path / '.epoch_1.pth.1.partial').write_text('half')
    lock_work_dir(tmp_path)  # of a dead process: taken over
    assert f'process {os.getpid()} ' in (tmp_path / '.lock').read_text()
    assert not list(tmp_path.glob('*.partial'))


def test_work_directory_that_cannot_be(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(InputError, match='file cannot be written'):
        lock_work_dir(str(tmp_path / 'file'))


@contextmanager
def full_disk(limit=1 << 20):
    """Let the system refuse to write files of more bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    former = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, former)


def test_full_disk_loses_no_checkpoint(tmp_path):
    backend = AtomicLocalBackend()
    for epoch in (1, 2):
        backend.put(b'whole', tmp_path / f'epoch_{epoch}.pth')
    # as MMEngine does it: remove the oldest first
    backend.remove(tmp_path / 'epoch_1.pth')
    with full_disk(), pytest.raises(InputError, match='epoch_3.pth cannot be written'):
        AtomicLocalBackend().put(bytes(2 << 20), tmp_path / 'epoch_3.pth')
    assert {path.name for path in tmp_path.iterdir()} == {'epoch_1.pth', 'epoch_2.pth'}
    AtomicLocalBackend().put(b'whole', tmp_path / 'epoch_3.pth')
    assert {path.name for path in tmp_path.iterdir()} == {'epoch_2.pth', 'epoch_3.pth'}


def test_full_disk_ends_training_in_one_line(run, tmp_path, capsys):
    options = ['--work-dir', tmp_path, '--cfg-options', *SMALL, 'train_cfg.max_epochs=1']
    with full_disk(), pytest.raises(SystemExit) as end:
        run('train.py', LSPET, *options)
    assert end.value.code == 2
    (line,) = [ln for ln in capsys.readouterr().err.splitlines() if ln.startswith('error: ')]
    assert 'epoch_1.pth cannot be written' in line and 'go on with --resume' in line


@TRANSFORMS.register_module()
class KillWorker(BaseTransform):
    """End the data worker that it runs in, as a system short of memory does."""

    def transform(self, results):
        os.kill(os.getpid(), signal.SIGKILL)


def test_data_worker_killed(run, tmp_path, capsys):
    small = [o for o in SMALL if 'train_dataloader.num' not in o and 'train_dataloader.pe' not in o]
    with pytest.raises(SystemExit) as end:
        run(
            'train.py',
            LSPET,
            '--work-dir',
            tmp_path,
            '--cfg-options',
            *small,
            'train_dataloader.num_workers=1',
            'train_dataloader.dataset.pipeline.0.type=KillWorker',
        )
    assert end.value.code == 1
    (line,) = [ln for ln in capsys.readouterr().err.splitlines() if ln.startswith('error: ')]
    assert 'DataLoader worker' in line and '--resume' in line


def test_other_process_of_two_dies(data, tmp_path):
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        '-m',
        'torch.distributed.run',
        '--nproc_per_node=2',
        f'--master_port={port}',
        str(ROOT / 'tools/train.py'),
        str(LSPET),
        '--launcher',
        'pytorch',
        '--work-dir',
        str(tmp_path / 'work'),
        '--cfg-options',
        *SMALL,
        'train_dataloader.batch_size=1',
        'train_cfg.max_epochs=1000',
    ]
    env = dict(os.environ, PYTHONPATH=f'{ROOT}{os.pathsep}{ROOT / "tests"}')
    log, pids = tmp_path / 'log', []
    with log.open('w') as out:
        launcher = subprocess.Popen(command, cwd=data, env=env, stdout=out, stderr=out)
    try:
        deadline = time.monotonic() + 300
        while not (tmp_path / 'work/epoch_1.pth').exists():
            assert launcher.poll() is None and time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.2)
        ps = ['ps', '-ww', '-o', 'pid=,args=', '--ppid', str(launcher.pid)]  # of any width
        children = subprocess.check_output(ps, text=True).splitlines()
        pids += [int(line.split()[0]) for line in children if 'train.py' in line]
        assert len(pids) == 2
        os.kill(pids[1], signal.SIGKILL)
        begin = time.monotonic()
        status = launcher.wait(60)
        assert status != 0 and time.monotonic() - begin < 60
    finally:
        launcher.terminate()  # torchrun ends its processes
        launcher.wait(60)
    text = log.read_text()
    assert 'another process of this run is gone' in text or 'Signal 9 (SIGKILL)' in text


def test_killed_and_resumed_ends_with_the_same_weights(tmp_path):
    command = ROOT / 'projects/reliability/kill_training.py'
    done = subprocess.run(
        [sys.executable, command, '--kills', '2', '--epochs', '2', '--images', '8']
        + ['--work-dir', tmp_path / 'kills'],
        capture_output=True,
        text=True,
        env=dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1'),
    )
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert re.search(r'2 kills \([12] while a checkpoint was written\)', done.stdout), done.stdout
    assert 'all end with the same weights and iterations' in done.stdout
