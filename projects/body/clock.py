"""Training for so many hours, on a machine whose speed is not known beforehand."""

import math
import time

import torch
from mmengine.dist import broadcast
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner


@HOOKS.register_module()
class CosineByClock(Hook):
    """Let the learning rate fall to zero by the clock, as half a cosine, then end the training.

    It ends with the epoch in which the hours are over, which is evaluated. A training that was
    stopped goes on with the hours that it has left.

    Args:
        lr (float): Learning rate at the beginning.
        hours (float): Of training, without evaluations.
        warmup (int): Iterations in which the learning rate rises to ``lr``. Default: 100.
    """

    def __init__(self, lr: float, hours: float, warmup: int = 100) -> None:
        self.lr, self.seconds, self.warmup = lr, hours * 3600, warmup

    def before_train(self, runner: Runner) -> None:
        self._end_if_over(runner, runner.epoch)

    def before_train_epoch(self, runner: Runner) -> None:
        self.last = time.monotonic()

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        now = time.monotonic()
        spent = torch.tensor(self._spent(runner) + now - self.last)
        broadcast(spent)  # the processes' rates must not differ
        self.last = now
        runner.message_hub.update_info('clock', spent.item())
        done = min(spent.item() / self.seconds, 1)
        rate = self.lr * (1 + math.cos(math.pi * done)) / 2
        for group in runner.optim_wrapper.optimizer.param_groups:
            group['lr'] = rate * min((runner.iter + 1) / self.warmup, 1)

    def after_train_epoch(self, runner: Runner) -> None:
        self._end_if_over(runner, runner.epoch + 1)

    def _spent(self, runner: Runner) -> float:
        return runner.message_hub.runtime_info.get('clock', 0.0)

    def _end_if_over(self, runner: Runner, epochs: int) -> None:
        if self._spent(runner) >= self.seconds:
            # unlike stop_training it lets the loop evaluate the last epoch
            runner.train_loop._max_epochs = epochs
