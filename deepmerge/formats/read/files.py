"""Open files, with errors that say what the file is instead of what it should be."""

from __future__ import annotations

import codecs
import mmap
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from deepmerge.errors import ReadError
from deepmerge.names import decoded

_HTML = "is an HTML page (a failed download?); download the file again"
_PACKED = "; unpack it first"
_TEXTS = (  # in lower case, after blanks
    (b"version https://git-lfs", "is a Git LFS pointer, not the file itself; fetch it with `git lfs pull`"),
    (b"<!doctype", _HTML),
    (b"<html", _HTML),
    (b"<head", _HTML),
    (b"<!--", _HTML),
    (b"<?xml", "is an XML page (a failed download?); download the file again"),
)
_MAGIC = (  # the very first bytes
    (b"\x1f\x8b", f"is a gzip file{_PACKED}"),
    (b"PK\x03\x04", f"is a zip file{_PACKED}"),
    (b"BZh", f"is a bzip2 file{_PACKED}"),
    (b"\xfd7zXZ\0", f"is an xz file{_PACKED}"),
    (b"\x28\xb5\x2f\xfd", f"is a Zstandard file{_PACKED}"),
    (b"7z\xbc\xaf\x27\x1c", f"is a 7z file{_PACKED}"),
    (b"Rar!\x1a\x07", f"is a RAR file{_PACKED}"),
    (b"\x93NUMPY", "is a NumPy file, not one of Caffe's"),
    (b"\x80\x02", "is a Python pickle (an old PyTorch file?), not one of Caffe's"),
    (b"\x89HDF\r\n", "is an HDF5 file; give a protobuf file"),
)
_HEAD = 1 << 16  # bytes that are looked at before the rest of a file is read
MAX_TEXT = 32 << 20  # bytes; the largest networks have 100 kB


def read_text(path: str | Path) -> str:
    """Return a text file; ReadError if it cannot be read, is empty, too large, not text, or plainly something else.

    Bytes that are not UTF-8 become surrogates, so that names keep their bytes ("surrogateescape").
    """
    try:
        with open(path, "rb") as file:
            head = file.read(_HEAD)
            _refuse_other_kinds(path, head)
            _refuse_binary(path, head)
            data = head + file.read(MAX_TEXT + 1 - len(head))
    except (OSError, ValueError) as error:
        raise _os_error(path, error) from None
    if len(data) > MAX_TEXT:
        raise ReadError(f"is larger than {MAX_TEXT >> 20} MB, which no network's text is; give the prototxt", path)
    _refuse_binary(path, data)
    return decoded(data.removeprefix(codecs.BOM_UTF8))


def map_file(path: str | Path) -> memoryview:
    """Map a large file, read-only; ReadError if it cannot be read, is empty, or is plainly something else."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode) and not os.path.isdir(path):
            raise ReadError("is a pipe or a device, not a file; save it as one", path)
        with open(path, "rb") as file:
            _refuse_other_kinds(path, file.read(512))
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError) as error:
        raise _os_error(path, error) from None


def walk(folder: str | Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield what os.walk yields, in the order of the names; ReadError for a folder that cannot be read.

    Links to folders are followed where they lie in `folder` itself; further down, they could lead in circles. A
    lost+found in `folder` itself is left out: at the top of a disk, only root may read it.
    """

    def fail(error: OSError) -> NoReturn:
        raise _os_error(error.filename, error) from None

    for root, folders, names in os.walk(folder, onerror=fail, followlinks=True):
        if root == os.fspath(folder):
            folders[:] = [name for name in folders if name != "lost+found"]
        else:
            folders[:] = [name for name in folders if not os.path.islink(os.path.join(root, name))]
        folders.sort()
        yield root, folders, sorted(names)


def is_hdf5(path: str | Path) -> bool:
    """Return whether the file exists and begins like an HDF5 file."""
    if not os.path.isfile(path):  # opening a pipe may block
        return False
    try:
        with open(path, "rb") as file:
            return file.read(8) == b"\x89HDF\r\n\x1a\n"
    except (OSError, ValueError):
        return False


def looks_like_text(data: memoryview) -> bool:
    """Return whether the first bytes are text: no control characters except blanks, and no broken UTF-8."""
    head = bytes(data[:4096])
    if _has_controls(head):
        return False
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return True


def _has_controls(head: bytes) -> bool:
    return any(byte < 32 and byte not in b"\t\n\r\f\v" for byte in head)


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
    start = head[:64].removeprefix(codecs.BOM_UTF8).lstrip().lower()
    texts = () if _has_controls(head[:512]) else _TEXTS  # a caffemodel of a network named "<html>" begins like a page
    for begin, kinds in ((start, texts), (head, _MAGIC)):
        for magic, what in kinds:
            if begin.startswith(magic):
                raise ReadError(what, path)
    if head[257:262] == b"ustar" and head[100:106].isdigit():  # the mode of its first file
        raise ReadError(f"is a tar file{_PACKED}", path)


def _refuse_binary(path, data: bytes) -> None:
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ReadError("is UTF-16 text; save it as UTF-8", path)
    if b"\0" in data:
        raise ReadError("is a binary file, not a prototxt; is it the caffemodel, given in the wrong place?", path)
