"""The files of a manifest: paths from its folder on, globs, and URLs, which fsspec opens."""

from __future__ import annotations

import contextlib
import functools
import glob
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deepmerge.errors import ReadError
from deepmerge.formats.read.files import walk
from deepmerge.names import for_path
from deepmerge.temporary import temporary_folder
from deepmerge.text import flat

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_SPEC = re.compile(r"(folder|list|npz|lmdb|hdf5):(.*)", re.DOTALL)
_STARS = re.compile(r"\*\*/|\*")
_CHUNK = 1 << 20
_CHANGES = (
    "ETag",
    "etag",
    "mtime",
    "LastModified",
    "Last-Modified",
    "last_modified",
    "updated",
    "created",
    "Digest",
)  # of what fsspec tells


def is_url(place: str) -> bool:
    """Return whether a place is a URL."""
    return _URL.match(place) is not None


# -- globs -----------------------------------------------------------------------------------------


def expand(folder: Path, name: str, prototxt: str, caffemodel: str) -> list[tuple[str, str, str]]:
    """Return name, prototxt and caffemodel of each model that an entry's globs find, in the order of their names.

    `*` stands for a part of one name, `**/` for any folders. A caffemodel belongs to the prototxt with the same parts;
    without one it is named as the prototxt is. ValueError if nothing is found.
    """
    stars = _STARS.findall(prototxt)
    if not stars:
        if "*" in name or "*" in caffemodel:
            raise ValueError("name and caffemodel may have a * where prototxt has one")
        made = caffemodel or _weights(prototxt)
        return [(name or _stem(prototxt), prototxt, made)]
    for text in (name, caffemodel):
        if text and _STARS.findall(text) != stars and "*" in text:
            raise ValueError(f"{text!r} and {prototxt!r} must have the same * in the same order")
    found = []
    for path, parts in _matches(folder, prototxt):
        weights = _filled(caffemodel, parts) if caffemodel else _weights(path)
        label = _filled(name, parts) if name else "-".join(filter(None, (part.strip("/") for part in parts)))
        found.append((label or _stem(path), path, weights))
    if not found:
        raise ValueError(f"{prototxt!r} finds no file")
    if name and "*" not in name and len(found) > 1:
        raise ValueError(f"{prototxt!r} finds {len(found)} files, and {name!r} names one; put a * into the name")
    return sorted(found)


def _matches(folder: Path, pattern: str) -> list[tuple[str, list[str]]]:
    """Return each file that a pattern finds, and the parts of its path that the stars stand for."""
    pieces = _STARS.split(pattern)
    stars = _STARS.findall(pattern)
    form = re.compile(
        "".join(re.escape(piece) + ("((?:[^/]+/)*)" if star == "**/" else "([^/]*)") * bool(star)
                for piece, star in zip(pieces, [*stars, ""], strict=True)),
        re.DOTALL,
    )  # fmt: skip
    if is_url(pattern):
        paths = _remote_glob(pattern)
    else:
        escaped = "".join(glob.escape(piece) + star for piece, star in zip(pieces, [*stars, ""], strict=True))
        paths = glob.glob(escaped, root_dir=folder, recursive=True)
    matches = ((path, form.fullmatch(path)) for path in paths)
    return [(path, list(match.groups())) for path, match in matches if match]


def _filled(pattern: str, parts: list[str]) -> str:
    values = iter(parts)
    return _STARS.sub(lambda _: next(values), pattern)


def _weights(prototxt: str) -> str:
    return prototxt.removesuffix(".prototxt") + ".caffemodel"


def _stem(prototxt: str) -> str:
    return prototxt.rstrip("/").rpartition("/")[2].removesuffix(".prototxt")


# -- what a file is --------------------------------------------------------------------------------


def signature(folder: str | Path, place: str) -> Any:
    """Return what changes, as a rule, when a file changes: its size, time and number on the disk; None if it is gone.

    For a folder, the digest of the names and sizes in it; for a URL, what its server says.
    """
    try:
        if is_url(place):
            info = _remote(place).info(_remote_path(place))
            return [info.get("size"), *(str(info[key]) for key in _CHANGES if info.get(key))]
        path = _local(folder, place)
        status = os.stat(path)
        if os.path.isdir(path):
            return _listing(path, status.st_mtime_ns)
        return [status.st_size, status.st_mtime_ns, status.st_ino]
    except Exception:  # each of fsspec's file systems raises its own
        return None


def digest(folder: str | Path, place: str) -> str | None:
    """Return a file's SHA-256 in hexadecimal; None if it cannot be read. A folder counts by its names and sizes."""
    try:
        if not is_url(place) and not os.path.isfile(path := _local(folder, place)):  # a pipe would not end
            return _listing(path, os.stat(path).st_mtime_ns) if os.path.isdir(path) else None
        found = hashlib.sha256()
        with _opened(folder, place) as stream:
            while chunk := stream.read(_CHUNK):
                found.update(chunk)
        return found.hexdigest()
    except Exception:  # as above
        return None


@contextlib.contextmanager
def local(place: str) -> Iterator[str]:
    """Yield a path to read a file at: the place itself, or a copy of what a URL has. ReadError if there is none."""
    if not is_url(place):
        yield place
        return
    with temporary_folder() as folder:
        path = folder / for_path(place.rstrip("/").rpartition("/")[2])
        with _reading(place), _opened("", place) as stream, open(path, "wb") as file:
            shutil.copyfileobj(stream, file, _CHUNK)
        yield str(path)


@contextlib.contextmanager
def _reading(place: str) -> Iterator[None]:
    """Make a ReadError of whatever is raised: each of fsspec's file systems has its own errors."""
    try:
        yield
    except ReadError:
        raise
    except Exception as error:
        raise ReadError(f"cannot be read: {flat(error) or type(error).__name__}", place) from None


def _local(folder: str | Path, place: str) -> str:
    spec = _SPEC.fullmatch(place)
    return os.path.join(folder, spec[2] if spec else place)


def _opened(folder: str | Path, place: str) -> Any:
    return _remote(place).open(_remote_path(place), "rb") if is_url(place) else open(_local(folder, place), "rb")


@functools.lru_cache(256)
def _listing(path: str, _mtime: int) -> str:
    """Return the digest of the names and sizes of the files in a folder, and in its folders; empty ones count, too."""
    found = hashlib.sha256()
    for root, folders, names in walk(path):
        if not folders and not names:  # of images, a class
            found.update(os.fsencode(os.path.relpath(root, path)) + b"/\0")
        for name in names:
            file = os.path.join(root, name)
            size = os.stat(file).st_size if os.path.exists(file) else -1
            found.update(os.fsencode(os.path.relpath(file, path)) + b"\0" + str(size).encode() + b"\0")
    return found.hexdigest()


# -- URLs ------------------------------------------------------------------------------------------


def _remote(place: str) -> Any:
    """Return fsspec's file system of a URL; ReadError if it cannot be had."""
    remedy = "`pip install 'deepmerge-caffe[remote]'` gets what opens URLs"
    try:
        import fsspec
    except ImportError:
        raise ReadError("is a URL, and fsspec is not installed", place, remedy=remedy) from None
    try:
        return fsspec.core.url_to_fs(place)[0]
    except (ImportError, ValueError) as error:
        raise ReadError(f"is a URL that fsspec does not open: {flat(error)}", place, remedy=remedy) from None


def _remote_path(place: str) -> str:
    import fsspec

    return fsspec.core.url_to_fs(place)[1]


def _remote_glob(pattern: str) -> list[str]:
    with _reading(pattern):
        system = _remote(pattern)
        return [system.unstrip_protocol(path) for path in system.glob(_remote_path(pattern))]
