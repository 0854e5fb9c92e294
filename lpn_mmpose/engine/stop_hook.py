"""Training that saves when it is told to stop, and goes on at the same iteration."""

import argparse
import atexit
import mmap
import os
import os.path as osp
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from multiprocessing import get_start_method

import torch
from mmengine.dataset import InfiniteSampler
from mmengine.dist import all_reduce, is_distributed, is_main_process
from mmengine.hooks import EMAHook, Hook
from mmengine.registry import HOOKS
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch.utils.data import BatchSampler, DataLoader, Sampler

#: Checkpoint of an epoch that is not finished.
INTERRUPTED = 'interrupted.pth'
#: Seconds within which a signal is the same one, sent by shell and launcher.
SAME_SIGNAL = 5.0
#: Seconds that a data worker goes on after SIGTERM, for the iteration to be finished.
WORKER_GRACE = 120


class _Rest(Sampler):
    """The samples of an epoch behind those that it was trained on already."""

    def __init__(self, sampler: Sampler, done: int) -> None:
        self.sampler, self.done = sampler, done

    def __iter__(self) -> Iterator[int]:
        samples = iter(self.sampler)
        for _ in range(self.done):
            next(samples, None)
        return samples

    def __len__(self) -> int:
        return len(self.sampler)


def resume_command() -> str:
    """Return the command that goes on where this process ends."""
    if any(word.partition('=')[0] == '--stages' for word in sys.orig_argv):
        # iterative training goes on by itself, and takes its flags out of sys.argv
        return shlex.join(['python', *sys.orig_argv[1:]])
    script, *arguments = sys.argv
    processes = os.environ.get('LOCAL_WORLD_SIZE')  # torchrun's
    if processes and arguments[1:3] == ['--launcher', 'pytorch']:
        script = osp.join(osp.dirname(script), 'dist_train.sh')
        arguments[1:3] = [processes]
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument('--resume', nargs='?')  # of an older checkpoint than the newest, maybe
    _, kept = parser.parse_known_args(arguments)
    return shlex.join(['bash' if script.endswith('.sh') else 'python', script, *kept, '--resume'])


@HOOKS.register_module()
class StopHook(Hook):
    """Save and end at SIGTERM and SIGINT; go on with the rest of the epoch.

    The iteration that runs is finished, then ``interrupted.pth`` is written,
    ``last_checkpoint`` points to it, and the process ends with status
    128 + signal, as shells have it. A second signal, 5 s later, ends it at
    once.

    MMEngine resumes at the beginning of an epoch. With this hook it takes
    only those samples of the interrupted one that were not trained on; the
    log counts them from 1. An evaluation that was interrupted is done again,
    also by a kill: MMEngine saves an epoch before it evaluates it, and a run
    that goes on from there would never know whether that epoch was the best.
    Of several processes all stop when one has got the signal, and they
    finish an evaluation first. Data workers, to which launchers send the
    signal as well, end when the training does.

    Args:
        signals (Sequence[str]): Names of the signals. Default: SIGTERM and
            SIGINT.
    """

    # behind all that changes the weights, the schedule or the checkpoints
    priority = 'LOWEST'

    def __init__(self, signals: tuple[str, ...] = ('SIGTERM', 'SIGINT')) -> None:
        self.signals = [getattr(signal, name) for name in signals]
        self.received = 0
        self._interrupted: dict = {}
        self._done = 0
        self._former: dict = {}
        self._ends = mmap.mmap(-1, 1)  # which the data workers see

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Remember where a checkpoint of this hook was made."""
        meta = checkpoint.get('meta') or {}
        if runner._resume:
            self._interrupted = meta.get('interrupted') or {'epoch saved': True}

    def before_train(self, runner: Runner) -> None:
        """Listen to the signals, and leave out what was trained on already."""
        self.received, self._pid = 0, os.getpid()
        self._ends[0] = False
        atexit.register(self._end_workers)  # before multiprocessing waits for them
        for number in self.signals:
            try:
                self._former[number] = signal.signal(number, self._receive)
            except ValueError:  # not in the main thread: whoever owns it decides
                break
        loop, place = runner.train_loop, self._interrupted
        for each in (loop, runner.val_loop):
            if each is not None:
                kept = self._keep_workers(each.dataloader)
                if kept and isinstance(each, IterBasedTrainLoop):
                    self._restart(each)
        self._interrupted = {}
        due = place.get('epoch saved') and self._evaluation_is_due(loop)
        if runner.val_loop is not None and (place.get('evaluation') or due):
            runner.logger.info(f'evaluating the weights of iteration {runner.iter} again')
            runner.val_loop.run()
        # of the other kind of loop MMEngine itself advances the data
        if not place.get('done') or not isinstance(loop, EpochBasedTrainLoop):
            return
        batches = loop.dataloader.batch_sampler
        if place['length'] != len(loop.dataloader) or not isinstance(batches, BatchSampler):
            runner.logger.warning('the batches are not as before: the epoch begins anew')
            return
        self._done = place['done']
        runner.logger.info(f'{self._done} iterations of epoch {loop.epoch + 1} are done already')
        batches.sampler = _Rest(batches.sampler, self._done * batches.batch_size)

    @staticmethod
    def _evaluation_is_due(loop: BaseLoop) -> bool:
        """Whether a training loop evaluates where it stands."""
        loop._decide_current_val_interval()  # as the loop itself does before it asks
        epochs = isinstance(loop, EpochBasedTrainLoop)
        now, end = (loop.epoch, loop.max_epochs) if epochs else (loop.iter, loop.max_iters)
        return now > 0 and now >= loop.val_begin and (now % loop.val_interval == 0 or now == end)

    def _receive(self, number: int, frame) -> None:
        if os.getpid() != self._pid:  # a data worker, forked with this handler
            if number == signal.SIGINT:  # which terminals send to all
                return
            if not self.received and not self._ends[0]:
                self.received = number  # sent to all processes: the iteration needs data
                signal.alarm(WORKER_GRACE)
                return
            if self._ends[0]:  # PyTorch would report a worker that a signal killed
                os._exit(0)
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        now = time.monotonic()
        if self.received and now - self._since > SAME_SIGNAL:
            signal.signal(number, self._former.get(number) or signal.SIG_DFL)
            os.kill(os.getpid(), number)
        if not self.received:
            self.received, self._since = number, now
            name = signal.Signals(number).name
            print(f'{name}: saving after this iteration', file=sys.stderr, flush=True)

    def _end_workers(self) -> None:
        self._ends[0] = True

    def _keep_workers(self, loader: DataLoader) -> bool:
        """Let a loader's data workers, if any, have this handler in place of PyTorch's."""
        former = loader.worker_init_fn
        if get_start_method() != 'fork' or not loader.num_workers:
            return False

        def initialize(worker_id: int) -> None:
            if former is not None:
                former(worker_id)
            for number in self._former:
                signal.signal(number, self._receive)

        loader.worker_init_fn = initialize
        return True

    @staticmethod
    def _restart(loop: IterBasedTrainLoop) -> None:
        """Start the data workers again, which such a loop starts when it is made."""
        begin, loader = type(loop.dataloader_iterator), loop.dataloader
        loop.dataloader_iterator = loader._iterator = None
        if isinstance(loader.sampler, InfiniteSampler):  # which can be gone through once
            loader.sampler.indices = loader.sampler._indices_of_rank()
        loop.dataloader_iterator = begin(loader)

    def _stops(self, iteration: int) -> int:
        """Return the signal that some process has got, else 0."""
        if not is_distributed():
            return self.received
        # on GPUs, reading a result waits for all that was queued before
        if torch.cuda.is_available() and iteration % 10:
            return 0
        received = torch.tensor(self.received)
        if torch.cuda.is_available():
            received = received.cuda()
        all_reduce(received, 'max')
        return int(received)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None):
        """Save and end if a signal was received."""
        number = self._stops(runner.iter)
        if number:
            length = len(runner.train_loop.dataloader)
            place = dict(done=self._done + batch_idx + 1, length=length)
            meta = dict(epoch=runner.epoch, iter=runner.iter + 1, interrupted=place)
            self._save_and_end(runner, number, meta)

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None):
        """Save the state before the evaluation and end if a signal was received."""
        # several processes may not have the same number of iterations here
        if not self.received or is_distributed():
            return
        for hook in runner.hooks:
            if isinstance(hook, EMAHook):  # it evaluates the averaged weights
                hook.after_val_epoch(runner)
        meta = dict(epoch=runner.epoch, iter=runner.iter, interrupted=dict(evaluation=True))
        self._save_and_end(runner, self.received, meta)

    def _save_and_end(self, runner: Runner, number: int, meta: dict) -> None:
        where = f'iteration {meta["iter"]}'
        runner.save_checkpoint(
            runner.work_dir,
            INTERRUPTED,
            meta=meta,
            by_epoch=False,
            backend_args=dict(backend='atomic'),
        )
        if is_main_process():
            path = osp.join(runner.work_dir, INTERRUPTED)
            with open(osp.join(runner.work_dir, 'last_checkpoint'), 'w') as pointer:
                pointer.write(path)
            print(
                f'stopped by {signal.Signals(number).name} at {where}, saved {path}\n'
                f'go on with: {resume_command()}',
                flush=True,
            )
        self._end_workers()
        sys.exit(128 + number)

    def after_train_epoch(self, runner: Runner) -> None:
        """Take whole epochs again, and remove what a newer checkpoint replaces."""
        self._done = 0
        batches = getattr(runner.train_loop.dataloader, 'batch_sampler', None)
        if isinstance(getattr(batches, 'sampler', None), _Rest):
            batches.sampler = batches.sampler.sampler
        path = osp.join(runner.work_dir, INTERRUPTED)
        pointer = osp.join(runner.work_dir, 'last_checkpoint')
        if is_main_process() and osp.isfile(path) and osp.isfile(pointer):
            with open(pointer) as file:
                newest = file.read().strip()
            if newest and osp.isfile(newest) and not osp.samefile(newest, path):
                os.remove(path)

    def after_train(self, runner: Runner) -> None:
        """Give the signals back."""
        self._end_workers()
        atexit.unregister(self._end_workers)
        for number, former in self._former.items():
            signal.signal(number, former)
        self._former = {}
