"""What this machine has, against what the system says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from deepmerge import machine


@pytest.mark.parametrize("limit, here", [("1000000\n", 1_000_000), ("max\n", None)])
def test_memory_is_the_containers_where_it_has_a_limit(monkeypatch, limit, here):
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: limit)
    assert machine.memory() == (whole if here is None else here)
