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

    It ends with the epoch in which the hours are over. A training that was stopped goes
    on with the hours that it has left.

    Args:
        lr (float): Learning rate at the beginning.
        hours (float): Of training, without evaluations.
        warmup (int): Iterations in which the learning rate rises to ``lr``. Default: 100.
    """

    def __init__(self, lr: float, hours: float, warmup: int = 100) -> None:
        self.lr, self.seconds, self.warmup = lr, hours * 3600, warmup

    def before_train_epoch(self, runner: Runner) -> None:
        self.last = time.monotonic()

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        now = time.monotonic()
        spent = torch.tensor(runner.message_hub.runtime_info.get('clock', 0.0) + now - self.last)
        broadcast(spent)  # the processes' rates must not differ
        self.last = now
        runner.message_hub.update_info('clock', spent.item())
        done = min(spent.item() / self.seconds, 1)
        rate = self.lr * (1 + math.cos(math.pi * done)) / 2
        for group in runner.optim_wrapper.optimizer.param_groups:
            group['lr'] = rate * min((runner.iter + 1) / self.warmup, 1)

    def after_train_epoch(self, runner: Runner) -> None:
        if runner.message_hub.get_info('clock') >= self.seconds:
            runner.train_loop.stop_training = True
