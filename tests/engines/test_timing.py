from __future__ import annotations

from deepmerge.engines.timing import time_interleaved


def test_turns_are_taken():
    order = []

    class Session:
        def __init__(self, name):
            self.name = name

        def time_once(self):
            order.append(self.name)
            return float(len(order))

    times = time_interleaved({name: Session(name) for name in "ab"}, repeat=2, warmup=1)
    assert order == list("ababab")
    assert times == {"a": [3.0, 5.0], "b": [4.0, 6.0]}
