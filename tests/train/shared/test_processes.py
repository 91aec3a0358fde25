"""One process or several: shares of a batch, and odd environments."""

from __future__ import annotations

from datetime import timedelta

import pytest

from deepmerge.errors import DeepmergeError, EngineError
from deepmerge.train.shared.processes import Processes, joined


def test_shares():
    assert [Processes(rank, 4).share(12) for rank in range(4)] == [3] * 4
    assert [Processes(rank, 2).own_batch(index) for index in range(2) for rank in range(2)] == [0, 1, 2, 3]
    with pytest.raises(DeepmergeError, match="a batch of 6 images cannot be divided among 4 processes"):
        Processes(0, 4).share(6)
    alone = Processes()
    assert alone.first and alone.share(7) == 7 and alone.from_first("x") == "x" and alone.sum([]) is None


def test_odd_environments(monkeypatch):
    pytest.importorskip("torch", reason="pip install 'deepmerge-caffe[torch]'")
    with joined("cpu") as alone:
        assert alone == Processes()
    monkeypatch.setenv("WORLD_SIZE", "two")
    with (
        pytest.raises(EngineError, match="WORLD_SIZE is 'two', not a number; start several processes with torchrun"),
        joined("cpu"),
    ):
        pass
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with (
        pytest.raises(EngineError, match="the 2 processes do not find each other .*; start them with torchrun"),
        joined("cpu"),
    ):
        pass


def test_the_others_wait_while_the_first_one_tests(monkeypatch):
    distributed = pytest.importorskip("torch.distributed", reason="pip install 'deepmerge-caffe[torch]'")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(distributed, "init_process_group", lambda backend, timeout: None)
    monkeypatch.setattr(distributed, "new_group", lambda timeout: timeout)
    monkeypatch.setattr(distributed, "destroy_process_group", lambda: None)
    with joined("cpu") as processes:
        assert processes.group >= timedelta(days=1)
