"""The data layers of a train_val.prototxt, where the user's own are not there to be kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deepmerge.emit.prototxt import message
from deepmerge.errors import EmitError
from deepmerge.graph.tree import Message, Quoted, Token

USUAL_MEAN = (104, 117, 123)  # blue, green, red of ImageNet, as Caffe's models subtract it


@dataclass(frozen=True)
class Source:
    """Where images come from: `lmdb:PATH`, `list:FILE` (path and label a line) or `hdf5:FILE`."""

    kind: str
    path: str

    @classmethod
    def parse(cls, spec: str) -> Source:
        """EmitError for a spec of another form. A path that exists is made absolute, as Caffe may start anywhere."""
        kind, colon, path = spec.partition(":")
        if kind not in ("lmdb", "list", "hdf5") or not colon or not path:
            raise EmitError(f"data source {spec!r}: give lmdb:PATH, list:FILE or hdf5:FILE")
        return cls(kind, str(Path(path).absolute()))


def data_layer(phase: str, tops: tuple[str, str], shape: tuple[int, ...], source: Source | None, batch_size: int) -> Message:
    """The data layer of one phase for images of `shape` (N, C, H, W), labels as second top."""
    source = source or Source("lmdb", f"{phase.lower()}_lmdb")
    make = {"lmdb": _lmdb, "list": _list, "hdf5": _hdf5}[source.kind]
    kind, fields = make(source, shape, phase, batch_size)
    layer = message(name=Quoted("data"), type=Quoted(kind), top=[Quoted(t) for t in tops], include=message(phase=Token(phase)))
    layer.fields += fields.fields
    return layer


def _transform(shape: tuple[int, ...], phase: str, crop: bool) -> Message:
    square = crop and len(shape) == 4 and shape[2] == shape[3]
    return message(
        mirror=phase == "TRAIN",
        crop_size=shape[2] if square else None,
        mean_value=list(USUAL_MEAN) if len(shape) == 4 and shape[1] == 3 else None,
    )


def _lmdb(source: Source, shape, phase: str, batch_size: int) -> tuple[str, Message]:
    param = message(source=Quoted(source.path), batch_size=batch_size, backend=Token("LMDB"))
    return "Data", message(transform_param=_transform(shape, phase, crop=True), data_param=param)


def _list(source: Source, shape, phase: str, batch_size: int) -> tuple[str, Message]:
    size = {"new_height": shape[2], "new_width": shape[3]} if len(shape) == 4 else {}
    color = None if len(shape) != 4 or shape[1] != 1 else False
    param = message(source=Quoted(source.path), batch_size=batch_size, shuffle=True if phase == "TRAIN" else None, **size, is_color=color)
    return "ImageData", message(transform_param=_transform(shape, phase, crop=False), image_data_param=param)


def _hdf5(source: Source, shape, phase: str, batch_size: int) -> tuple[str, Message]:
    """Caffe's HDF5Data wants a text file that lists HDF5 files: see `hdf5_list`."""
    listed = f"{phase.lower()}_hdf5.txt" if _is_hdf5(source) else source.path
    return "HDF5Data", message(hdf5_data_param=message(source=Quoted(listed), batch_size=batch_size))


def hdf5_list(phase: str, source: Source | None) -> tuple[str, str] | None:
    """(name, text) of the list file that must stand beside train_val.prototxt, or None if none must."""
    if source is None or source.kind != "hdf5" or not _is_hdf5(source):
        return None
    return f"{phase.lower()}_hdf5.txt", source.path + "\n"


def _is_hdf5(source: Source) -> bool:
    return source.path.endswith((".h5", ".hdf5", ".hdf"))
