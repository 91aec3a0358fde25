from __future__ import annotations

import numpy as np
import pytest

from deepmerge.choose.replay import Replay

VALUES = [np.arange(4, dtype=np.float32) + i for i in range(3)]  # 48 bytes


@pytest.mark.parametrize("memory, passes, kept", [(48, 1, 48), (47, 3, 0), (15, 3, 0)])
def test_values_are_kept_if_all_of_them_fit_and_else_made_again(memory, passes, kept):
    made = []

    def make():
        made.append(1)
        yield from VALUES

    values = Replay(make, memory)
    for _ in range(3):
        assert [value.tolist() for value in values] == [value.tolist() for value in VALUES]
    assert (len(made), values.kept_bytes) == (passes, kept)


def test_a_pass_that_was_broken_off_keeps_nothing():
    values = Replay(lambda: iter([{"a": value} for value in VALUES]), 48)
    next(iter(values))
    assert values.kept_bytes == 0 and len(list(values)) == 3 and values.kept_bytes == 48
