"""Checkpoints: whole or not there, of this job or refused, and never lost to a full disk."""

from __future__ import annotations

import errno
import os

import numpy as np
import pytest

from deepmerge.errors import TrainingError
from deepmerge.train.shared.checkpoint import Checkpoint

JOB = {"OUT": "0123456789" * 7, "--seed": 1}
ARRAYS = {"conv1/3x3:0": np.arange(6, dtype=np.float32).reshape(2, 3), "step": np.array(7, np.int64)}


@pytest.fixture
def saved(tmp_path):
    checkpoint = Checkpoint(tmp_path / "out.checkpoint", JOB)
    checkpoint.save("iteration 7", ARRAYS, {"iteration": 7, "losses": [0.5, 0.25]})
    return checkpoint


def test_what_was_saved_is_there_again(saved):
    arrays, meta = Checkpoint(saved.folder, JOB).load()
    assert meta == {"iteration": 7, "losses": [0.5, 0.25]} and arrays.keys() == ARRAYS.keys()
    assert all(arrays[name].dtype == a.dtype and np.array_equal(arrays[name], a) for name, a in ARRAYS.items())
    assert os.listdir(saved.folder) == ["state.npz"]


def test_none_yet(tmp_path):
    checkpoint = Checkpoint(tmp_path / "none", JOB)
    assert checkpoint.load() is None and not (tmp_path / "none").exists()


def test_removed(saved):
    saved.remove()
    saved.remove()
    assert not saved.folder.exists()


def test_anothers_is_refused_with_what_differs(saved):
    with pytest.raises(
        TrainingError,
        match=r"checkpoint of another run: --seed was 1, and is 2 now; delete .*out.checkpoint to start again",
    ):
        Checkpoint(saved.folder, {**JOB, "--seed": 2}).load()
    with pytest.raises(TrainingError, match="OUT was 0123456789012345…, and is abc now"):
        Checkpoint(saved.folder, {**JOB, "OUT": "abc"}).load()
    with pytest.raises(TrainingError, match="--lr was null, and is 0.5 now"):
        Checkpoint(saved.folder, {**JOB, "--lr": 0.5}).load()
    assert Checkpoint(saved.folder, JOB).load() is not None


@pytest.mark.parametrize("damage", [b"", b"PK\3\4 and no more", b"text"])
def test_a_damaged_one_is_refused(saved, damage):
    (saved.folder / "state.npz").write_bytes(damage)
    with pytest.raises(TrainingError, match="is not a checkpoint, or is damaged .*; delete .* to start again"):
        Checkpoint(saved.folder, JOB).load()


def test_a_bit_that_has_turned_is_seen(saved):
    path = saved.folder / "state.npz"
    data = bytearray(path.read_bytes())
    data[data.index(ARRAYS["conv1/3x3:0"].tobytes())] ^= 1
    path.write_bytes(data)
    with pytest.raises(TrainingError, match="damaged"):
        Checkpoint(saved.folder, JOB).load()


def test_pickles_are_not_opened(saved):
    np.savez(saved.folder / "state.npz", meta=np.array([{"job": JOB}], object))
    with pytest.raises(TrainingError, match="damaged"):
        Checkpoint(saved.folder, JOB).load()


def test_a_folder_with_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(TrainingError, match="contains other files; move or delete it"):
        Checkpoint(tmp_path, JOB).load()
    with pytest.raises(TrainingError, match="contains other files"):
        Checkpoint(tmp_path / "thesis.tex", JOB).load()


def test_a_write_that_was_killed_leaves_the_last_one(saved):
    (saved.folder / "state.npz.partial").write_bytes(b"PK")
    assert Checkpoint(saved.folder, JOB).load().meta["iteration"] == 7
    saved.save("iteration 8", ARRAYS, {"iteration": 8})
    assert Checkpoint(saved.folder, JOB).load().meta["iteration"] == 8
    assert os.listdir(saved.folder) == ["state.npz"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_last_one(saved, monkeypatch, call):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    shown = r"out.checkpoint: cannot be written: the disk is full; free some space; the checkpoint of iteration 7 is kept in .*out.checkpoint$"
    with pytest.raises(TrainingError, match=shown), saved.mentioned():
        saved.save("iteration 8", ARRAYS, {"iteration": 8})
    monkeypatch.undo()
    assert os.listdir(saved.folder) == ["state.npz"] and Checkpoint(saved.folder, JOB).load().meta["iteration"] == 7


def test_a_first_one_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(TrainingError, match="out.checkpoint: cannot be written: Not a directory$"):
        Checkpoint(tmp_path / "file" / "out.checkpoint", JOB).save("iteration 1", ARRAYS, {})


def test_layers_may_have_any_name(tmp_path):
    arrays = {
        name: np.full(2, i, np.float32) for i, name in enumerate(("a\x00b", "a", "\udcff", "deep/est: 1", "två\n"))
    }
    checkpoint = Checkpoint(tmp_path / "out.checkpoint", JOB)
    checkpoint.save("lsq", arrays, {})
    found, _ = Checkpoint(checkpoint.folder, JOB).load()
    assert list(found) == list(arrays) and all(np.array_equal(found[name], array) for name, array in arrays.items())
