"""Whether the runtime and the command keep their memory, handles and speed in long use."""

import io
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from ..errors import InputError
from .cli import main as lpn_pose
from .media import silence_decoders
from .pose import PoseRuntime

STATM = '/proc/self/statm'
#: What no call can use: each must be refused, and leave nothing behind.
UNUSABLE = (None, 'no such file.jpg', np.zeros((0, 4, 3), np.uint8), np.full((9, 9, 3), np.nan))


class Record(NamedTuple):
    """What the process had after a round of :func:`soak_mixed`.

    Args:
        seconds (float): Since the beginning.
        images (int): Images and frames of this round.
        speed (float): Of them, a second.
        memory (float): Resident memory, MB.
        handles (int): Open files and sockets.
        threads (int): Threads.
    """

    seconds: float
    images: int
    speed: float
    memory: float
    handles: int
    threads: int


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
    pose: PoseRuntime,
    frames: int,
    max_persons: int = 3,
    every: int | None = None,
    progress: bool = True,
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
        progress (bool): Whether to show a progress bar. Default: True.

    Returns:
        list[tuple[int, float]]: Frames so far, resident memory in MB.
    """
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (720, 1280, 3), np.uint8)
    every = every or max(frames // 100, 1)
    records = []
    for frame in tqdm(range(1, frames + 1), unit='frame', disable=not progress):
        height, width = rng.integers(200, 720), rng.integers(300, 1280)
        low = rng.uniform(0, 150, (rng.integers(0, max_persons + 1), 2))
        boxes = np.hstack([low, low + rng.uniform(30, 600, low.shape)])
        pose(noise[:height, :width], boxes)
        if frame % every == 0:
            records.append((frame, resident_mb()))
    return records


def write_mixed_files(folder: Path) -> None:
    """Write photographs and a video, and as many files that are broken."""
    rng = np.random.default_rng(0)
    for index, size in enumerate([(90, 160), (480, 640), (1080, 1920), (700, 300)]):
        image = cv2.resize(rng.integers(0, 256, (9, 16, 3), np.uint8), size[::-1])
        jpeg = cv2.imencode('.jpg', image)[1].tobytes()
        (folder / f'{index}.jpg').write_bytes(jpeg)
        (folder / f'half_{index}.jpg').write_bytes(jpeg[: len(jpeg) // 2])
    (folder / 'grey.png').write_bytes(cv2.imencode('.png', image[..., 0])[1].tobytes())
    (folder / 'deep.png').write_bytes(cv2.imencode('.png', image.astype(np.uint16) * 257)[1])
    (folder / 'empty.png').touch()
    (folder / 'text.jpg').write_text('no picture')
    film = folder / 'film.avi'
    writer = cv2.VideoWriter(str(film), cv2.VideoWriter_fourcc(*'MJPG'), 10, (320, 240))
    for _ in range(12):
        writer.write(rng.integers(0, 256, (240, 320, 3), np.uint8))
    writer.release()
    content = film.read_bytes()
    (folder / 'half.avi').write_bytes(content[: len(content) // 2])
    (folder / 'text.mp4').write_text('no video')


def soak_mixed(pose: PoseRuntime, *options: str) -> Iterator[Record]:
    """Use a runtime and the command without end, with good and broken input.

    A round is a hundred frames as in :func:`soak`, calls that must be refused,
    and ``lpn-pose`` in this process on the files of :func:`write_mixed_files`.

    Args:
        pose (PoseRuntime): The runtime.
        *options (str): More options of ``lpn-pose``.

    Yields:
        Record: After each round.

    Raises:
        RuntimeError: If broken input is taken or good input is refused.
    """
    silence_decoders()
    begin, expected = time.monotonic(), None
    with tempfile.TemporaryDirectory() as temporary:
        files, out = Path(temporary) / 'files', Path(temporary) / 'out'
        files.mkdir()
        write_mixed_files(files)
        while True:
            start = time.monotonic()
            soak(pose, 100, progress=False)
            for value in UNUSABLE:
                try:
                    pose(value)
                except ValueError:
                    continue
                raise RuntimeError(f'{value!r} was taken for an image')
            printed = io.StringIO()
            with redirect_stdout(printed), redirect_stderr(printed):
                status = lpn_pose([str(files), '--out', str(out), *options])
            counts = re.search(r'^files: .*', printed.getvalue(), re.MULTILINE)
            if status != 1 or not counts or counts[0] != (expected or counts[0]):
                raise RuntimeError(f'lpn-pose ended with {status}: {printed.getvalue()}')
            expected = counts[0]
            shutil.rmtree(out)
            images = 100 + int(re.search(r'(\d+) images and frames', expected)[1])
            now = time.monotonic()
            handles, threads = (len(os.listdir(f'/proc/self/{name}')) for name in ('fd', 'task'))
            yield Record(
                now - begin, images, images / (now - start), resident_mb(), handles, threads
            )


def growth(records: list[tuple[int, float]]) -> float:
    """Return by which share memory grew from the first to the last fifth.

    The first tenth, in which engines fill their pools, does not count.

    Args:
        records (list[tuple[int, float]]): From :func:`soak`, ten at least.
    """
    memory = [mb for _, mb in records[len(records) // 10 :]]
    fifth = max(len(memory) // 5, 1)
    return float(np.mean(memory[-fifth:]) / np.mean(memory[:fifth]) - 1)
