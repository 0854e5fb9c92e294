import threading
import time

import pytest

from lpn_mmpose.runtime.pipeline import Pipeline


def test_order_and_overlap():
    """Stages of 0.02 s each take little more than one of them, and keep the order."""

    def slow(x):
        time.sleep(0.02)
        return x + 1

    begin = time.perf_counter()
    assert list(Pipeline(range(20), slow, slow, slow)) == list(range(3, 23))
    assert time.perf_counter() - begin < 20 * 0.06 * 0.75


def test_few_wait():
    taken = []

    def items():
        for i in range(100):
            taken.append(i)
            yield i

    pipeline = iter(Pipeline(items(), lambda x: x, depth=2))
    assert next(pipeline) == 0
    time.sleep(0.3)
    assert len(taken) < 10
    pipeline.close()


@pytest.mark.parametrize('place', range(3))
def test_errors_reach_the_caller(place):
    def items():
        for i in range(1000):
            if place == 0 and i == 5:
                raise ValueError('bad 0')
            yield i

    def stage(number):
        def run(x):
            if place == number and x == 5:
                raise ValueError(f'bad {number}')
            return x

        return run

    before = threading.active_count()
    with pytest.raises(ValueError, match=f'bad {place}'):
        list(Pipeline(items(), stage(1), stage(2)))
    assert threading.active_count() == before


def test_leaving_early_closes_the_source():
    closed = []

    def items():
        try:
            while True:
                yield 1
        finally:
            closed.append(True)

    for _ in Pipeline(items(), lambda x: x):
        break
    deadline = time.monotonic() + 5
    while not closed and time.monotonic() < deadline:
        time.sleep(0.01)
    assert closed
