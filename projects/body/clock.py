"""Training for so many hours, on a machine whose speed is not known beforehand."""

import math
import time

import torch
from mmengine.dist import broadcast
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner


@HOOKS.register_module()
class CosineByClock(Hook):
    """Let the learning rates fall to zero by the clock, as half a cosine, then end the training.

    They begin at the optimizer's.

    It ends with the epoch in which the hours are over, or with the iteration where an
    :class:`IterBasedTrainLoop` counts these, and is evaluated. A training that was stopped goes on
    with the hours that it has left.

    Args:
        hours (float): Of training, without evaluations.
        warmup (int): Iterations in which the learning rates rise to the optimizer's. Default: 100.

    Raises:
        ValueError: If there is no time.
    """

    def __init__(self, hours: float, warmup: int = 100) -> None:
        if not hours > 0:
            raise ValueError(f'hours must be positive, got {hours!r}')
        self.seconds, self.warmup = hours * 3600, warmup

    def before_run(self, runner: Runner) -> None:
        # before a checkpoint brings what they had fallen to
        self.rates = [group['lr'] for group in runner.optim_wrapper.param_groups]

    def before_train(self, runner: Runner) -> None:
        self._end_if_over(runner, 0)

    def before_train_epoch(self, runner: Runner) -> None:
        # an IterBasedTrainLoop that resumes goes through the data that it has had now
        by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
        self.last = time.monotonic() if by_epoch else None

    def after_val(self, runner: Runner) -> None:
        self.last = None

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        now = time.monotonic()
        since = 0 if self.last is None else now - self.last
        spent = torch.tensor(self._spent(runner) + since, dtype=torch.float64)
        broadcast(spent)  # the processes' rates must not differ
        self.last = now
        runner.message_hub.update_info('clock', spent.item())
        done = min(spent.item() / self.seconds, 1)
        share = (1 + math.cos(math.pi * done)) / 2 * min((runner.iter + 1) / self.warmup, 1)
        for group, rate in zip(runner.optim_wrapper.param_groups, self.rates):
            group['lr'] = rate * share

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch=None, outputs=None
    ) -> None:
        if isinstance(runner.train_loop, IterBasedTrainLoop):
            self._end_if_over(runner, 1)

    def after_train_epoch(self, runner: Runner) -> None:
        if isinstance(runner.train_loop, EpochBasedTrainLoop):
            self._end_if_over(runner, 1)

    def _spent(self, runner: Runner) -> float:
        return runner.message_hub.runtime_info.get('clock', 0.0)

    def _end_if_over(self, runner: Runner, current: int) -> None:
        """End with ``current`` more than the epochs or iterations that are counted."""
        loop = runner.train_loop
        if self._spent(runner) >= self.seconds:
            # unlike stop_training it lets the loop evaluate the end
            if isinstance(loop, IterBasedTrainLoop):
                loop._max_iters = runner.iter + current
            else:
                loop._max_epochs = runner.epoch + current
