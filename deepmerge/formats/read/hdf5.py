"""HDF5 snapshots (`.caffemodel.h5`) → the layers' weights. Caffe: net.cpp, ToHDF5 and CopyTrainedLayersFromHDF5.

Blob i of a layer is the data set data/LAYER/i; a layer that has a slash in its name is a group in a group. Blobs that
a layer shares with one before it are left out. Only this module needs h5py (the extra `h5`).
"""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np

from deepmerge.errors import ReadError
from deepmerge.formats.read.stored import StoredLayer
from deepmerge.graph.shape_errors import MAX_AXES

MAX_BLOBS = 256  # of one layer; Caffe's own have 6 at most
_FREE, _MAX_TOTAL = 64 << 20, 20  # all blobs together: at most _FREE bytes plus _MAX_TOTAL times the file
_MAX_PACKING = 1032  # deflate cannot do better; a larger claim is refused without reading


def read_hdf5(path: str | Path) -> list[StoredLayer]:
    """Return the layers stored in a snapshot, by name. A blob that is left out before others is None.

    Blobs are float32: views on the mapped file if they are stored as such, which is how Caffe writes them.
    ReadError without h5py, and if the file is not a snapshot.
    """
    h5py = _h5py(path)
    try:
        with h5py.File(path, "r") as file, open(path, "rb") as raw:
            sets = _data_sets(h5py, file)
            _check_total(sets, path)
            mapped = mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ)
            return [StoredLayer(name, blobs=_blobs(name, one, mapped)) for name, one in sets.items()]
    except ReadError as error:
        raise ReadError(str(error), path) from None
    except (OSError, RuntimeError, ValueError, TypeError, KeyError, OverflowError) as error:  # h5py's many
        raise ReadError(f"is damaged, or is not an HDF5 file ({error}); get the file again", path) from None


def _h5py(path):
    try:
        import h5py
    except ImportError:
        text = "is an HDF5 snapshot, which takes h5py to read: `pip install 'deepmerge-caffe[h5]'`"
        raise ReadError(text, path) from None
    return h5py


def _data_sets(h5py, file) -> dict[str, dict[int, object]]:
    """Return layer → index → h5py.Dataset. Links out of the file are not followed."""
    data = file.get("data")
    if not isinstance(data, h5py.Group):
        solver = {"iter", "history"} <= set(file)
        what = (
            "is a solver's state"
            if solver
            else "is an HDF5 file, but not a snapshot of Caffe's: it has no group `data`"
        )
        raise ReadError(f"{what}; give the .caffemodel.h5 (or .caffemodel) that belongs to the prototxt")
    layers: dict[str, dict[int, object]] = {}

    def visit(name: str, found) -> None:
        layer, _, index = name.rpartition("/")
        if not isinstance(found, h5py.Dataset):
            return
        if not layer or not (index.isascii() and index.isdecimal()) or len(index) > 4 or int(index) >= MAX_BLOBS:
            raise ReadError(
                f"is not a snapshot of Caffe's: data/{name} is a data set, where data/LAYER/NUMBER is expected"
            )
        layers.setdefault(layer, {})[int(index)] = found

    data.visititems(visit)
    if not layers:
        raise ReadError("holds no weights: its group `data` has no layers")
    return layers


def _check_total(layers: dict[str, dict[int, object]], path) -> None:
    """Raise ReadError for a small file that claims to hold much more than it can: weights hardly compress."""
    sets = [found for sets in layers.values() for found in sets.values() if found.shape is not None]
    total = sum(
        found.nbytes for found in sets if found.nbytes <= found.id.get_storage_size() * _MAX_PACKING
    )  # others are refused
    stored = Path(path).stat().st_size
    if total > _FREE + _MAX_TOTAL * stored:
        text = (
            f"claims {total / 1e6:,.0f} MB of weights in a file of {stored / 1e6:,.0f} MB; save it without compression"
        )
        raise ReadError(text)


def _blobs(layer: str, sets: dict[int, object], mapped: mmap.mmap) -> list[np.ndarray | None]:
    blobs: list[np.ndarray | None] = [None] * (max(sets) + 1)
    for index, found in sorted(sets.items()):
        try:
            blobs[index] = _array(found, mapped)
        except ReadError as error:
            raise ReadError(f"layer {layer!r}, blob {index}: {error}; get the file again") from None
    return blobs


def _array(found, mapped: mmap.mmap) -> np.ndarray:
    if found.dtype.kind not in "fiu" or found.shape is None:
        raise ReadError(f"holds {found.dtype}, not numbers")
    if len(found.shape) > MAX_AXES:
        raise ReadError(f"has more than {MAX_AXES} axes")
    if found.external:
        raise ReadError("has its values in another file, which is not read")
    stored = found.id.get_storage_size()
    if found.nbytes > stored * _MAX_PACKING:
        raise ReadError(f"claims {found.size} values, its shape being {found.shape}, but stores {stored} bytes")
    offset = found.id.get_offset()
    if offset is not None and found.dtype == np.dtype("<f4") and found.size:
        return np.frombuffer(mapped, "<f4", found.size, offset).reshape(found.shape)
    with np.errstate(over="ignore"):  # Caffe casts doubles to float32 without a word
        return found[...].astype(np.float32, copy=False)
