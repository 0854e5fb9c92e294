"""Augmentation that does not depend on when a training was interrupted."""

import random

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import IterBasedTrainLoop, Runner


class _Seeded:
    """A dataset's ``prepare_data`` with random numbers of its own for each sample."""

    def __init__(self, prepare, seed: int, epoch: torch.Tensor) -> None:
        self.prepare, self.seed, self.epoch = prepare, seed, epoch

    def __call__(self, index: int):
        set_seed(self.seed, int(self.epoch), index + 1)
        return self.prepare(index)


def set_seed(*numbers: int) -> None:
    """Seed Python's, NumPy's and PyTorch's random numbers by several integers."""
    words = np.random.SeedSequence(numbers).generate_state(3)
    random.seed(int(words[0]))
    np.random.seed(int(words[1]))
    torch.manual_seed(int(words[2]))


def _prepared(dataset) -> list:
    """Return the outermost datasets that have ``prepare_data``."""
    if hasattr(dataset, 'prepare_data'):
        return [dataset]
    inner = getattr(dataset, 'datasets', None) or [getattr(dataset, 'dataset', None)]
    return [found for other in inner if other is not None for found in _prepared(other)]


@HOOKS.register_module()
class SampleSeedHook(Hook):
    """Draw the random numbers of a sample by seed, epoch and index.

    Otherwise they come from those of the worker that has had the samples
    before, and a resumed training sees other augmentations than one that ran
    through. Acts in MMEngine's deterministic mode alone,
    ``randomness=dict(seed=0, deterministic=True)``: there a resumed training
    ends with the same weights, with any number of workers.

    A training without epochs goes again through the samples that it has had,
    so that its workers' own random numbers are the same, with as many workers
    and at least one.
    """

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self.epoch = None

    def before_train(self, runner: Runner) -> None:
        """Let the training data seed every sample."""
        if not runner.deterministic:
            return
        # shared with workers that live for several epochs
        self.epoch = torch.zeros(1, dtype=torch.int64).share_memory_()
        if isinstance(runner.train_loop, IterBasedTrainLoop):
            return  # one epoch has a sample many times
        for dataset in _prepared(runner.train_loop.dataloader.dataset):
            dataset.prepare_data = _Seeded(dataset.prepare_data, runner.seed, self.epoch)

    def before_train_epoch(self, runner: Runner) -> None:
        """Tell the workers which epoch begins."""
        if self.epoch is not None:
            self.epoch.fill_(runner.epoch)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        """Seed what the model draws itself."""
        if self.epoch is not None:
            set_seed(runner.seed, runner.iter)
