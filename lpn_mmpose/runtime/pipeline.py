"""Stages that work at once, each in a thread of its own."""

import threading
from collections.abc import Callable, Iterable, Iterator
from queue import Empty, Full, Queue
from typing import Any

_END = object()


class Pipeline:
    """Pass items through functions that run in threads side by side, in order.

    OpenCV and the engines release Python's lock, so that reading, networks and writing overlap.
    Between two stages a few items wait at most, which bounds the memory.

    Args:
        items (Iterable): What goes in; iterated in a thread of its own.
        stages (Callable): Functions of one item, each called from one thread.
        depth (int): Items that wait between two stages at most. Default: 3.

    Example:
        >>> list(Pipeline(range(3), lambda x: x + 1, str))
        ['1', '2', '3']
    """

    def __init__(self, items: Iterable, *stages: Callable[[Any], Any], depth: int = 3) -> None:
        self._queues = [Queue(depth) for _ in range(len(stages) + 1)]
        self._cancelled = threading.Event()
        self._error: BaseException | None = None
        jobs = [(self._feed, items, self._queues[0])]
        jobs += [
            (self._work, stage, *pair)
            for stage, pair in zip(stages, zip(self._queues, self._queues[1:]))
        ]
        self._threads = [
            threading.Thread(target=self._guarded, args=job, daemon=True) for job in jobs
        ]

    def _guarded(self, job: Callable, *args) -> None:
        try:
            job(*args)
        except BaseException as error:  # raised again where the results are taken
            if self._error is None:
                self._error = error
            self._cancelled.set()

    def _put(self, queue: Queue, item: Any) -> bool:
        while not self._cancelled.is_set():
            try:
                queue.put(item, timeout=0.1)
                return True
            except Full:
                continue
        return False

    def _get(self, queue: Queue) -> Any:
        while not self._cancelled.is_set():
            try:
                return queue.get(timeout=0.1)
            except Empty:
                continue
        return _END

    def _feed(self, items: Iterable, queue: Queue) -> None:
        iterator = iter(items)
        try:
            for item in iterator:
                if not self._put(queue, item):
                    break
        finally:
            close = getattr(iterator, 'close', None)
            if close:
                close()
        self._put(queue, _END)

    def _work(self, stage: Callable, source: Queue, target: Queue) -> None:
        while (item := self._get(source)) is not _END:
            if not self._put(target, stage(item)):
                return
        self._put(target, _END)

    def __iter__(self) -> Iterator:
        """Yield the results; raise what a stage raised."""
        for thread in self._threads:
            thread.start()
        try:
            while (item := self._get(self._queues[-1])) is not _END:
                yield item
        finally:
            self._cancelled.set()
            for thread in self._threads:
                thread.join()
        if self._error is not None:
            raise self._error
