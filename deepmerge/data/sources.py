"""Where images come from: a folder, a list file, an npz file, an LMDB, an HDF5 file.

images = open_images("folder:photos")
for picture in pictures(images, limit=32, skipped=[]):
    picture.pixels      # RGB, uint8, (H, W, 3)
"""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterator
from pathlib import Path

from deepmerge.data.decode import decode
from deepmerge.data.images import Images, Picture, read_picture
from deepmerge.errors import ReadError, SourceError
from deepmerge.formats.read.files import walk
from deepmerge.names import decoded

SUFFIXES = frozenset((".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"))
MAX_LIST = 1 << 28  # bytes: five times ImageNet's
FORMS = "folder:PATH, list:FILE, npz:FILE, lmdb:PATH or hdf5:FILE"


def open_images(spec: str) -> Images:
    """Open the source that `spec` names.

    folder:PATH (sub-folders are classes), list:FILE (a path and a label a line), npz:FILE (see npz.py), lmdb:PATH
    (Caffe's Datums) or hdf5:FILE (see hdf5.py). Raises ReadError if there is no such source, or no image in it.
    """
    kind, _, path = spec.partition(":")
    if kind not in _OPENERS or not path:
        hint = ""
        if os.path.exists(spec):
            hint = f"; did you mean {'folder' if os.path.isdir(spec) else _kind_of(spec)}:{spec}?"
        raise ReadError(f"{spec!r} is not a source of images{hint or f': give {FORMS}'}")
    images = _OPENERS[kind](spec, Path(path))
    if not images.count:
        raise ReadError(f"there are no images in it; {_WANTED[kind]}", path)
    return images


def source_path(spec: str) -> Path:
    """Return the file or folder that a `spec` names, whether or not it is there."""
    return Path(spec.partition(":")[2])


def pictures(
    images: Images, limit: int | None = None, strict: bool = False, skipped: list[str] | None = None
) -> Iterator[Picture]:
    """Yield the images one by one; those that cannot be read are left out, and `skipped` gets the reasons.

    limit: use at most this many images, spread evenly over the source (which may be sorted by class).
    strict: raise ReadError for the first image that cannot be read.
    """
    count = images.count if limit is None else min(limit, images.count)
    for place in range(count):
        try:
            picture = read_picture(images, place * images.count // count)
        except SourceError:
            raise
        except ReadError as error:
            if strict:
                raise ReadError(f"--strict: {error}") from None
            if skipped is not None:
                skipped.append(str(error))
            continue
        yield picture


def _kind_of(path: str) -> str:
    if path.endswith((".h5", ".hdf5")):
        return "hdf5"
    return "npz" if path.endswith(".npz") else "list"


def _folder(spec: str, path: Path) -> Images:
    """Open every image file below `path`, in the order of the names. A label is the sub-folder's place among all.

    Sub-folders without images count, too; hidden ones, such as .git, are left out.
    """
    if not path.is_dir():
        raise ReadError("is not a folder" if path.exists() else "no such folder", path)
    files: list[Path] = []
    classes: list[str] = []
    for root, folders, names in walk(path):
        if Path(root) == path:
            classes = [name for name in folders if not name.startswith(".")]
            folders[:] = classes
        files += [Path(root, name) for name in names if Path(name).suffix.lower() in SUFFIXES]
    files.sort()
    if all(file.parent == path for file in files):
        classes = []
    places = {name: place for place, name in enumerate(classes)}
    labels = [places[file.relative_to(path).parts[0]] if file.parent != path else None for file in files]

    def read(index: int) -> Picture:
        name = str(files[index])
        return Picture(name, decode(files[index], name), labels[index])

    return Images(spec, len(files), read, tuple(classes), gone=lambda: _none_there(files))


def _list(spec: str, path: Path) -> Images:
    """Open Caffe's kind of list: a path and a label a line, relative to the list's folder or to the current one."""
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_LIST + 1)
    except OSError as error:
        raise ReadError(f"cannot be read as a list of images: {error.strerror}", path) from None
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ReadError("cannot be read as a list of images: it is not text", path)
    if len(data) > MAX_LIST:
        raise ReadError(f"is longer than {MAX_LIST:,} bytes, too long for a list of images; give lmdb:PATH", path)
    lines = decoded(data.removeprefix(codecs.BOM_UTF8)).split("\n")  # as Caffe divides it
    entries = [_entry(line.strip()) for line in lines if line.strip()]

    def place(name: str) -> Path:
        return file if os.path.exists(file := path.parent / name) else Path(name)

    found: list[bool] = []  # whether any image was ever there

    def read(index: int) -> Picture:
        name, label = entries[index]
        picture = Picture(name, decode(place(name), name), label)
        found[:] = [True]
        return picture

    return Images(
        spec, len(entries), read, gone=lambda: bool(found) and _none_there([place(name) for name, _ in _some(entries)])
    )


def _some(things: list) -> list:
    """Return up to 16 of them, spread evenly."""
    count = min(len(things), 16)
    return [things[i * len(things) // count] for i in range(count)]


def _none_there(files: list[Path]) -> bool:
    """Return whether a sample of the files is missing altogether: a folder moved, a disk removed."""
    return not any(os.path.exists(file) for file in _some(files))


def _entry(line: str) -> tuple[str, int | None]:
    """Return a path, which may have spaces in it, and the label after the last space, if that is a whole number."""
    name, _, label = line.rpartition(" ")
    digits = label.removeprefix("-")
    number = digits.isascii() and digits.isdigit() and len(digits) < 19
    return (name.strip(), int(label)) if name.strip() and number else (line, None)


def _npz(spec: str, path: Path) -> Images:
    from deepmerge.data.npz import open_npz

    return open_npz(spec, path)


def _lmdb(spec: str, path: Path) -> Images:
    from deepmerge.data.lmdb import open_lmdb

    return open_lmdb(spec, path)


def _hdf5(spec: str, path: Path) -> Images:
    from deepmerge.data.hdf5 import open_hdf5

    return open_hdf5(spec, path)


_WANTED = {
    "folder": f"their names must end in {', '.join(sorted(SUFFIXES))}",
    "list": "give a path and a label a line",
    "npz": "`images` or `jpeg` is empty",
    "lmdb": "make it again with convert_imageset",
    "hdf5": "`data` or `images` is empty",
}
_OPENERS = {"folder": _folder, "list": _list, "npz": _npz, "lmdb": _lmdb, "hdf5": _hdf5}
