"""Opening files, with errors that say what the file is instead of what it should be."""

from __future__ import annotations

import mmap
from pathlib import Path

from deepmerge.errors import ReadError

_MAGIC = (
    (b"version https://git-lfs", "is a Git LFS pointer, not the file itself; fetch it with `git lfs pull`"),
    (b"\x1f\x8b", "is a gzip file; unpack it first"),
    (b"PK\x03\x04", "is a zip file; unpack it first"),
    (b"\x89HDF\r\n", "is an HDF5 file, which is not read here; save the snapshot as binaryproto"),
    (b"<!DOCTYPE", "is an HTML page (a failed download?); download the file again"),
    (b"<!doctype", "is an HTML page (a failed download?); download the file again"),
    (b"<html", "is an HTML page (a failed download?); download the file again"),
)


def read_bytes(path: str | Path) -> bytes:
    """A whole small file; ReadError if it cannot be read, is empty, or is plainly something else."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise _os_error(path, error) from None
    _refuse_other_kinds(path, data[:64])
    return data


def map_file(path: str | Path) -> memoryview:
    """A large file as read-only memory; ReadError as `read_bytes`."""
    try:
        with open(path, "rb") as file:
            head = file.read(64)
            _refuse_other_kinds(path, head)
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except OSError as error:
        raise _os_error(path, error) from None


def _os_error(path, error: OSError) -> ReadError:
    if isinstance(error, FileNotFoundError):
        return ReadError("no such file", path)
    if isinstance(error, IsADirectoryError):
        return ReadError("is a directory; give the file in it", path)
    if isinstance(error, PermissionError):
        return ReadError("may not be read (permission denied)", path)
    return ReadError(f"cannot be read: {error.strerror or error}", path)


def _refuse_other_kinds(path, head: bytes) -> None:
    if not head:
        raise ReadError("is empty", path)
    for magic, what in _MAGIC:
        if head.lstrip().startswith(magic):
            raise ReadError(what, path)
