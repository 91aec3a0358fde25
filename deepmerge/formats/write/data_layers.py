"""The data layers of a train_val.prototxt: new ones, and the user's own with absolute paths."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from deepmerge.errors import EmitError
from deepmerge.formats.write.prototxt import message
from deepmerge.graph.tree import Message, Quoted, Token

USUAL_MEAN = (104, 117, 123)  # blue, green, red of ImageNet, as Caffe's models subtract it
GUESS = "deepmerge's guess"  # in the first lines of a train_val.prototxt whose data layers convert has made up
_PATHS = frozenset(("source", "mean_file", "root_folder"))


@dataclass(frozen=True)
class Source:
    """Where images come from: `lmdb:PATH`, `list:FILE` (path and label on each line) or `hdf5:FILE`.

    hdf5: a file (.h5, .hdf5, .hdf) whose data sets have the names of the network's input and `label`, or a text file
    that lists such files.
    """

    kind: str
    path: str

    @classmethod
    def parse(cls, spec: str) -> Source:
        """Read a spec; EmitError for one of another form. The path becomes absolute, since Caffe may start anywhere."""
        kind, colon, path = spec.partition(":")
        if kind not in ("lmdb", "list", "hdf5") or not colon or not path:
            raise EmitError(f"data source {spec!r}: give lmdb:PATH, list:FILE or hdf5:FILE")
        return cls(kind, str(Path(path).expanduser().absolute()))


def data_layer(phase: str, tops: tuple[str, str], shape: tuple[int, ...], source: Source, batch_size: int) -> Message:
    """Return the data layer of one phase for images of `shape` (N, C, H, W), with the labels as its second top."""
    make = {"lmdb": _lmdb, "list": _list, "hdf5": _hdf5}[source.kind]
    kind, fields = make(source, shape, phase, batch_size)
    layer = message(
        name=Quoted("data"), type=Quoted(kind), top=[Quoted(t) for t in tops], include=message(phase=Token(phase))
    )
    layer.fields += fields.fields
    return layer


def _transform(shape: tuple[int, ...], phase: str, crop: bool) -> Message | None:
    """Return how Caffe preprocesses an image; None for inputs that are not images."""
    if len(shape) != 4:
        return None
    return message(
        mirror=phase == "TRAIN",
        crop_size=shape[2] if crop and shape[2] == shape[3] else None,
        mean_value=list(USUAL_MEAN) if shape[1] == 3 else None,
    )


def _lmdb(source: Source, shape, phase: str, batch_size: int) -> tuple[str, Message]:
    param = message(source=Quoted(source.path), batch_size=batch_size, backend=Token("LMDB"))
    return "Data", message(transform_param=_transform(shape, phase, crop=True), data_param=param)


def _list(source: Source, shape, phase: str, batch_size: int) -> tuple[str, Message]:
    size = {"new_height": shape[2], "new_width": shape[3]} if len(shape) == 4 else {}
    color = None if len(shape) != 4 or shape[1] != 1 else False
    root = root_folder(source.path)
    param = message(
        source=Quoted(source.path),
        batch_size=batch_size,
        shuffle=True if phase == "TRAIN" else None,
        **size,
        is_color=color,
        root_folder=Quoted(root) if root else None,
    )
    return "ImageData", message(transform_param=_transform(shape, phase, crop=False), image_data_param=param)


def root_folder(listed: str) -> str:
    """Return the folder of a list's relative paths: the list's or the current one, if its first image is there.

    "" if neither is right, and for absolute paths.
    """
    try:
        with open(listed, encoding="utf-8", errors="surrogateescape") as file:
            first = file.readline().rsplit(None, 1)
    except OSError:
        return ""
    if len(first) != 2 or os.path.isabs(first[0]):
        return ""
    for folder in (os.path.dirname(os.path.abspath(listed)), os.getcwd()):
        if os.path.exists(os.path.join(folder, first[0])):
            return os.path.join(folder, "")
    return ""


def _hdf5(source: Source, shape, phase: str, batch_size: int) -> tuple[str, Message]:
    """Return an HDF5Data layer. It reads a text file that lists HDF5 files, see `hdf5_list`, and transforms nothing."""
    listed = f"{phase.lower()}_hdf5.txt" if _is_hdf5(source) else source.path
    return "HDF5Data", message(hdf5_data_param=message(source=Quoted(listed), batch_size=batch_size))


def hdf5_list(phase: str, source: Source | None) -> tuple[str, str] | None:
    """Return (name, text) of the list file that must be next to train_val.prototxt; None if none is needed."""
    if source is None or source.kind != "hdf5" or not _is_hdf5(source):
        return None
    return f"{phase.lower()}_hdf5.txt", source.path + "\n"


def _is_hdf5(source: Source) -> bool:
    return source.path.endswith((".h5", ".hdf5", ".hdf"))


def from_anywhere(layers: Iterable[Message], folders: Iterable[Path]) -> list[Message]:
    """Return the layers with their relative paths made absolute, if one of `folders` has such a file.

    Caffe resolves relative paths from the folder that it runs in, which differs from step to step.
    """
    folders = [os.path.abspath(f) for f in folders]
    return [_absolute(layer.copy(), folders) for layer in layers]


def _absolute(layer: Message, folders: list[str]) -> Message:
    for block in (f.value for f in layer if isinstance(f.value, Message)):
        for field in block:
            path = field.value
            if field.name not in _PATHS or not isinstance(path, str) or not path or os.path.isabs(path):
                continue
            found = next((f for f in folders if os.path.exists(os.path.join(f, path))), None)
            if found is not None:
                absolute = os.path.normpath(os.path.join(found, path))
                field.value = Quoted(absolute + ("/" if path.endswith("/") else ""))
    return layer
