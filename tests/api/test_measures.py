"""Networks are compared as the command compares them, on disk or not."""

from __future__ import annotations

import deepmerge
from tests.api.commands import PAIR, command


def test_verify_takes_networks_that_are_on_no_disk(network, capsys):
    exact = network.convert(network.plan(exact=True))
    assert exact.prototxt is None
    found = deepmerge.verify(network, exact, random=2)
    assert found["ok"] and found["images"] == 2
    same = deepmerge.verify(PAIR, PAIR, random=2)
    assert command(capsys, "verify", *PAIR, *PAIR, "--random", 2) == {"version": 1, **same}
