"""Times of what is compared, taken in turns."""

import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from tqdm import tqdm

Key = TypeVar('Key')
#: Pause between two calls, in s: engines' threads spin a while after a run.
PAUSE = 0.01


def timed(call: Callable[[], Any]) -> float:
    """Return the seconds that a call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def interleave(
    calls: Sequence[tuple[Key, Callable[[], Any]]],
    rounds: int,
    warm_up: int = 1,
    measure: Callable[[Callable], Any] = timed,
) -> dict[Key, list]:
    """Measure calls one after the other, round by round.

    Whatever slows the machine down for a while slows all of them alike.

    Args:
        calls (Sequence[tuple]): What to measure in a round, each a name of
            any kind and a call. A name that comes several times is measured
            several times.
        rounds (int): Rounds that count.
        warm_up (int): Rounds before these. Default: 1.
        measure (Callable): Makes a call and returns what is kept of it.
            Default: its time in s.

    Returns:
        dict: For each name a list of its measurements.
    """
    results = {name: [] for name, _ in calls}
    for turn in tqdm(range(warm_up + rounds), desc='rounds', leave=False):
        for name, call in calls:
            time.sleep(PAUSE)
            value = measure(call)
            if turn >= warm_up:
                results[name].append(value)
    return results
