from __future__ import annotations

import os
import sys
import time

import pytest

from deepmerge.engines.waiting import take, waited_seconds

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
    assert waited_seconds(os.getpid()) is not None and waited_seconds(None, 2) > 0


def test_a_sample():
    class Session:
        def time_once(self):
            start = time.perf_counter()
            time.sleep(0.01)
            return time.perf_counter() - start

    sample = take(Session())
    assert sample.wall >= 0.01 and (sample.waited is None or 0 <= sample.waited <= sample.wall)


def test_a_process_that_is_not_there():
    assert waited_seconds(2**30) is None and waited_seconds(2**30, 4) is None
