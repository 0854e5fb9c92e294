"""Many inputs in several processes, none of which can take the others with it."""

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

import cv2

_process: Callable[[Any], Any]


def _start(process: Callable[[Any], Any], parent: Connection) -> None:
    """Prepare a worker. It ends when the parent closes its end, or dies."""
    global _process
    _process = process
    cv2.setNumThreads(1)
    # the parent says that it was interrupted; what is under way leaves no trace
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))

    def watch() -> None:
        try:
            parent.recv()
        except (EOFError, OSError):
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _run(item: Any) -> Any:
    return _process(item)


def run_apart(
    process: Callable[[Any], Any], items: Iterable[Any], workers: int
) -> Iterator[tuple[Any, Any]]:
    """Process items in several processes, and yield (item, result) as they end.

    When a process dies, the items that were under way are processed again, one at a time, to find
    the one that kills it.

    Args:
        process (Callable): What to do with an item. It is pickled.
        items (Iterable): The items.
        workers (int): Processes.

    Yields:
        tuple: An item and its result; None as the result of one whose process died twice.

    Raises:
        Exception: What ``process`` raised; then all processes end.
    """
    context = get_context('spawn')
    pending, suspects = deque(items), deque()
    while pending or suspects:
        queue, size = (suspects, 1) if suspects else (pending, workers)
        reader, writer = context.Pipe(duplex=False)
        pool = ProcessPoolExecutor(size, context, _start, (process, reader))
        running = {}
        try:
            while queue or running:
                while queue and len(running) < (1 if queue is suspects else 2 * size):
                    future = pool.submit(_run, queue[0])
                    running[future] = queue.popleft()
                for future in wait(running, return_when=FIRST_COMPLETED)[0]:
                    result = future.result()
                    yield running.pop(future), result
        except BrokenProcessPool:
            for future, item in running.items():
                if future.done() and future.exception() is None:
                    yield item, future.result()
                elif queue is suspects:
                    yield item, None
                else:
                    suspects.append(item)
        except BaseException:
            writer.close()
            pool.shutdown(wait=True, cancel_futures=True)
            raise
        pool.shutdown(wait=True, cancel_futures=True)
        writer.close()
        reader.close()
