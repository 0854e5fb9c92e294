"""Whether the runtime's memory stays flat over a long video."""

import os

import numpy as np
from tqdm import tqdm

from ..errors import InputError
from .pose import PoseRuntime

STATM = '/proc/self/statm'


def resident_mb() -> float:
    """Return the process's resident memory in MB.

    Raises:
        InputError: If the system does not tell, as others than Linux.
    """
    if not os.path.exists(STATM):
        raise InputError(f'there is no {STATM}: memory is measured on Linux')
    with open(STATM) as file:
        pages = int(file.read().split()[1])
    return pages * os.sysconf('SC_PAGE_SIZE') / 1e6


def soak(
    pose: PoseRuntime, frames: int, max_persons: int = 3, every: int | None = None
) -> list[tuple[int, float]]:
    """Estimate poses in many frames and record the memory.

    The frames are noise of changing size, with none to ``max_persons`` boxes
    of changing size.

    Args:
        pose (PoseRuntime): The runtime.
        frames (int): How many.
        max_persons (int): Boxes in a frame at most. Default: 3.
        every (int, optional): Frames from one record to the next; None for a
            hundredth of them. Default: None.

    Returns:
        list[tuple[int, float]]: Frames so far, resident memory in MB.
    """
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (720, 1280, 3), np.uint8)
    every = every or max(frames // 100, 1)
    records = []
    for frame in tqdm(range(1, frames + 1), unit='frame'):
        height, width = rng.integers(200, 720), rng.integers(300, 1280)
        low = rng.uniform(0, 150, (rng.integers(0, max_persons + 1), 2))
        boxes = np.hstack([low, low + rng.uniform(30, 600, low.shape)])
        pose(noise[:height, :width], boxes)
        if frame % every == 0:
            records.append((frame, resident_mb()))
    return records


def growth(records: list[tuple[int, float]]) -> float:
    """Return by which share memory grew from the first to the last fifth.

    The first tenth, in which engines fill their pools, does not count.

    Args:
        records (list[tuple[int, float]]): From :func:`soak`, ten at least.
    """
    memory = [mb for _, mb in records[len(records) // 10 :]]
    fifth = max(len(memory) // 5, 1)
    return float(np.mean(memory[-fifth:]) / np.mean(memory[:fifth]) - 1)
