"""The SHA-256 that is taken beside a conversion."""

from __future__ import annotations

import hashlib
import os
import threading

import pytest

from deepmerge.out import digest
from deepmerge.out.digest import Digest


@pytest.mark.parametrize("size", [0, 1, 4096, 3 * (1 << 16), 3 * (1 << 16) + 5])
def test_it_is_sha256(tmp_path, monkeypatch, size):
    monkeypatch.setattr(digest, "_WINDOW", 1 << 16)
    data = bytes(range(256)) * (size // 256 + 1)
    (tmp_path / "file").write_bytes(data[:size])
    with Digest(tmp_path / "file") as running:
        assert running.result() == running.result() == hashlib.sha256(data[:size]).hexdigest()


def test_a_file_that_is_not_there(tmp_path):
    with Digest(tmp_path / "missing") as running, pytest.raises(FileNotFoundError):
        running.result()
    with Digest(tmp_path) as running, pytest.raises(OSError):
        running.result()


def test_no_thread_is_left_behind(tmp_path, monkeypatch):
    """An error inside ends the hashing of what would take minutes."""
    monkeypatch.setattr(digest, "_WINDOW", 1 << 16)
    with open(tmp_path / "file", "wb") as file:
        file.truncate(1 << 37)
    before = threading.active_count()
    with pytest.raises(KeyError), Digest(tmp_path / "file"):
        raise KeyError
    assert threading.active_count() == before


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    running = Digest(tmp_path / "pipe")
    running._thread.join(10)
    assert not running._thread.is_alive()


def test_pipes_are_left_alone(tmp_path):
    """They can be read only once, and not by us."""
    ours, theirs = os.pipe()
    os.write(theirs, b"abc")
    with Digest(f"/dev/fd/{ours}") as running:
        assert running.result() == hashlib.sha256(b"").hexdigest()
    assert os.read(ours, 9) == b"abc"
    os.close(ours)
    os.close(theirs)
