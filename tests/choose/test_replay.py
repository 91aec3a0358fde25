from __future__ import annotations

import numpy as np
import pytest

from deepmerge.choose.replay import Replay, Room

VALUES = [np.arange(4, dtype=np.float32) + i for i in range(3)]  # 48 bytes


@pytest.mark.parametrize("memory, passes, left", [(48, 1, 0), (50, 1, 2), (47, 3, 47), (15, 3, 15)])
def test_values_are_kept_if_all_of_them_fit_and_else_made_again(memory, passes, left):
    made, room = [], Room(memory)

    def make():
        made.append(1)
        yield from VALUES

    values = Replay(make, room)
    for _ in range(3):
        assert [value.tolist() for value in values] == [value.tolist() for value in VALUES]
    assert (len(made), room.left) == (passes, left)


def test_a_pass_that_was_broken_off_keeps_nothing():
    room = Room(48)
    values = Replay(lambda: iter([{"a": value} for value in VALUES]), room)
    next(iter(values))
    assert room.left == 48 and len(list(values)) == 3 and room.left == 0


def test_what_is_replayed_side_by_side_shares_the_room():
    room = Room(80)
    several = [Replay(lambda: iter(VALUES), room) for _ in range(2)]
    for _ in range(2):
        assert len(list(zip(*several, strict=True))) == 3
    assert room.left == 32  # one of them fits
