"""Folders and files that are there while a run works on them.

They go away when the run ends, however it ends: a run that was killed leaves them to the next one. A run locks what it
works on, and the kernel releases the locks of a process that is gone. A name that ends in `.old` holds what is about to
be replaced: this goes back to its place if nothing has come there.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

from deepmerge.signals import held_off

try:
    import fcntl
except ImportError:  # Windows: what a killed run leaves stays there
    fcntl = None  # type: ignore[assignment]

_MARK = "deepmerge-"
_asking = threading.Lock()


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yield a new folder in the system's folder for temporary files, and delete it at the end."""
    with _temporary(Path(tempfile.gettempdir()), "", ".scratch", _folder) as folder:
        yield folder


@contextlib.contextmanager
def folder_beside(path: Path, place: Path, suffix: str) -> Iterator[Path]:
    """Yield a new folder in `place` for work on `path`, and delete it at the end if it is still there.

    suffix: ".partial", ".scratch" or ".old". OSError if the disk refuses.
    """
    with _temporary(place, _prefix(path), suffix, _folder) as folder:
        yield folder


@contextlib.contextmanager
def file_beside(path: Path) -> Iterator[Path]:
    """Yield a new file in the folder of `path`, and delete it at the end if it is still there. OSError if refused."""
    with _temporary(path.parent, _prefix(path), ".partial", _file) as file:
        yield file


def remove_leftovers(path: Path, place: Path) -> None:
    """Delete what runs that were killed have left in `place` of their work on `path`. It never fails."""
    _sweep(place, _prefix(path))


def umask() -> int:
    """Return the process's file mode creation mask."""
    with _asking:  # to read it is to set it
        mask = os.umask(0o077)
        os.umask(mask)
    return mask


def _prefix(path: Path) -> str:
    return f".{path.name[:50]}."  # with four bytes a letter, still short enough for a name


class _Work:
    """A folder or file, locked, until `end` is called, the object goes away or the process exits."""

    def __init__(self, make: Callable[[], Path]) -> None:
        with held_off():
            while True:
                path = make()
                lock = _lock(path, wait=True)
                if os.path.lexists(path):
                    break
                if lock is not None:  # another run found it before it was locked, and deleted it
                    os.close(lock)
            self.path = path
            self.end = weakref.finalize(self, _end, path, lock)


@contextlib.contextmanager
def _temporary(place: Path, prefix: str, suffix: str, make: Callable[..., Path]) -> Iterator[Path]:
    _sweep(place, prefix)
    work = _Work(lambda: make(prefix=prefix + _MARK, suffix=suffix, dir=place))
    try:
        yield work.path
    finally:
        with held_off():
            work.end()


def _folder(**name) -> Path:
    return Path(tempfile.mkdtemp(**name))


def _file(**name) -> Path:
    handle, file = tempfile.mkstemp(**name)
    if hasattr(os, "fchmod"):  # not by its name: another run may have found the file, and deleted it
        os.fchmod(handle, 0o666 & ~umask())
    os.close(handle)
    return Path(file)


def _sweep(place: Path, prefix: str) -> None:
    """Delete what has such a name, belongs to this user, and is locked by no process."""
    name = re.compile(re.escape(prefix + _MARK) + r"[a-z0-9_]{8}\.(partial|scratch|old)")
    with contextlib.suppress(OSError), os.scandir(place) as entries:
        for entry in [entry for entry in entries if name.fullmatch(entry.name)]:
            path = Path(entry.path)
            if _is_ours(path) and (lock := _lock(path)) is not None:
                _end(path, lock)


def _is_ours(path: Path) -> bool:
    try:
        status = path.lstat()
    except OSError:
        return False
    known = stat.S_ISDIR(status.st_mode) or stat.S_ISREG(status.st_mode)
    return known and hasattr(os, "getuid") and status.st_uid == os.getuid()


def _lock(path: Path, wait: bool = False) -> int | None:
    """Lock a folder or file, and return the handle that holds the lock. None if it is locked, or cannot be."""
    if fcntl is None:
        return None
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:  # or the disk knows no locks, as some network drives do
        os.close(handle)
        return None
    return handle


def _end(path: Path, lock: int | None) -> None:
    """Delete a folder or file, if it is still there, and release its lock."""
    with contextlib.suppress(OSError):  # then it stays, with what could not be put back
        if path.suffix == ".old":
            _put_back(path)
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()
    if lock is not None:
        os.close(lock)


def _put_back(aside: Path) -> None:
    for old in aside.iterdir():
        if not os.path.lexists(place := aside.parent / old.name):
            os.rename(old, place)
