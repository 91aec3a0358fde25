"""Values in order, errors passed on, and no thread left behind."""

from __future__ import annotations

import itertools
import threading

import pytest

from deepmerge.data.prefetch import prefetched


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "deepmerge-images"]


def test_all_values_in_order():
    assert list(prefetched(iter(range(100)), ahead=3)) == list(range(100)) and threads() == []
    assert list(prefetched(iter(()))) == []


def test_they_are_made_ahead_but_not_far():
    made, reached = [], threading.Event()

    def source():
        for number in range(10):
            made.append(number)
            if number == 3:
                reached.set()
            yield number

    values = prefetched(source(), ahead=2)
    assert next(values) == 0 and reached.wait(5)  # the first was taken, two wait, one is in hand
    assert made == [0, 1, 2, 3]
    values.close()


def test_an_error_comes_out_where_it_belongs():
    def source():
        yield 1
        raise KeyError("no more")

    values = prefetched(source())
    assert next(values) == 1
    with pytest.raises(KeyError, match="no more"):
        next(values)
    assert threads() == []


def test_whoever_stops_early_leaves_no_thread():
    values = prefetched(itertools.count())
    assert list(itertools.islice(values, 5)) == list(range(5))
    values.close()
    assert threads() == []
