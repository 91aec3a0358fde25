"""Opening files, with errors that say what the file is instead of what it should be."""

from __future__ import annotations

import codecs
import mmap
from pathlib import Path

from deepmerge.errors import ReadError

_HTML = "is an HTML page (a failed download?); download the file again"
_MAGIC = (
    (b"version https://git-lfs", "is a Git LFS pointer, not the file itself; fetch it with `git lfs pull`"),
    (b"\x1f\x8b", "is a gzip file; unpack it first"),
    (b"pk\x03\x04", "is a zip file; unpack it first"),
    (b"\x89hdf\r\n", "is an HDF5 file, which is not read here; save the network as binaryproto (.caffemodel)"),
    (b"<!doctype", _HTML),
    (b"<html", _HTML),
)
_HEAD = 1 << 16  # bytes that are looked at before the rest of a file is read


def read_text(path: str | Path) -> str:
    """A whole text file; ReadError if it cannot be read, is empty, is no text, or is plainly something else.

    Bytes that are no UTF-8 become surrogates, so that names keep their bytes ("surrogateescape").
    """
    try:
        with open(path, "rb") as file:
            head = file.read(_HEAD)
            _refuse_other_kinds(path, head)
            _refuse_binary(path, head)
            data = head + file.read()
    except (OSError, ValueError) as error:
        raise _os_error(path, error) from None
    _refuse_binary(path, data)
    return data.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogateescape")


def map_file(path: str | Path) -> memoryview:
    """A large file as read-only memory; ReadError if it cannot be read, is empty, or is plainly something else."""
    try:
        with open(path, "rb") as file:
            _refuse_other_kinds(path, file.read(64))
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError) as error:
        raise _os_error(path, error) from None


def looks_like_text(data: memoryview) -> bool:
    """Whether a file's first bytes are text: no control characters but blanks, and no broken UTF-8."""
    head = bytes(data[:4096])
    if any(byte < 32 and byte not in b"\t\n\r\f\v" for byte in head):
        return False
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return True


def _os_error(path, error: OSError | ValueError) -> ReadError:
    if isinstance(error, FileNotFoundError):
        return ReadError("no such file", path)
    if isinstance(error, IsADirectoryError):
        return ReadError("is a directory; give the file in it", path)
    if isinstance(error, PermissionError):
        return ReadError("may not be read (permission denied)", path)
    return ReadError(f"cannot be read: {getattr(error, 'strerror', None) or error}", path)


def _refuse_other_kinds(path, head: bytes) -> None:
    if not head:
        raise ReadError("is empty", path)
    start = head[:64].lstrip().lower()
    for magic, what in _MAGIC:
        if start.startswith(magic):
            raise ReadError(what, path)


def _refuse_binary(path, data: bytes) -> None:
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ReadError("is UTF-16 text; save it as UTF-8", path)
    if b"\0" in data:
        raise ReadError("is a binary file, not a prototxt; is it the caffemodel, given in the wrong place?", path)
