from __future__ import annotations

import os
import sys
import time

import pytest

from deepmerge.engines.timing.waiting import take, waited_seconds

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux counts how long threads wait")


@linux
def test_waiting_is_counted():
    if waited_seconds() is None:
        pytest.skip("this kernel does not count (CONFIG_SCHED_INFO)")
    before = waited_seconds()
    children = []
    for _ in range(2 * len(os.sched_getaffinity(0))):
        child = os.fork()
        if not child:
            end = time.perf_counter() + 0.3
            while time.perf_counter() < end:
                pass
            os._exit(0)
        children.append(child)
    end = time.perf_counter() + 0.2
    while time.perf_counter() < end:
        pass
    for child in children:
        os.waitpid(child, 0)
    assert waited_seconds() > before
    assert waited_seconds(threads=2) > 0


def test_a_sample():
    class Session:
        def time_once(self):
            start = time.perf_counter()
            time.sleep(0.01)
            return time.perf_counter() - start

    sample = take(Session())
    assert sample.wall >= 0.01 and (sample.waited is None or 0 <= sample.waited <= sample.wall)


def test_what_waits_outside_of_the_time_is_not_taken_off(monkeypatch):
    """0.3 s of waiting, while the inputs were handed over, before a run of 0.02 s."""
    waits = iter([1.0, 1.3])
    monkeypatch.setattr("deepmerge.engines.timing.waiting.waited_seconds", lambda threads=1: next(waits))

    class Session:
        def time_once(self):
            time.sleep(0.35)
            return 0.02

    assert take(Session()) == (0.02, 0.0)


def test_real_caffe_counts_for_itself(real_caffe, models):
    mini = models / "inception_mini/inception_mini"
    with real_caffe.load_files(f"{mini}.prototxt", f"{mini}.caffemodel") as session:
        sample = take(session)
    assert 0 < sample.wall < 60 and (sample.waited is None or 0 <= sample.waited <= sample.wall)
    if sys.platform.startswith("linux") and waited_seconds() is not None:
        assert sample.waited is not None


def test_where_nobody_counts(monkeypatch):
    monkeypatch.setattr("deepmerge.engines.timing.waiting._waited", lambda path: None)
    assert waited_seconds() is None and waited_seconds(threads=3) is None
