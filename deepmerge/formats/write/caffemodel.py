"""Graph → caffemodel. The arrays of weights are written one after the other, without conversion.

A protobuf message is the concatenation of its fields, so a layer is its encoded header followed by its blobs. No weight
passes through protobuf or a Python list.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from deepmerge.formats import schema
from deepmerge.formats.write.layers import blob_names, layer_message
from deepmerge.formats.write.paging import PIECE, write_values
from deepmerge.formats.write.wire import VARINT, block, encode, key, prefix, varint
from deepmerge.graph.graph import Graph, Layer
from deepmerge.graph.tree import Message, Quoted

_LEGACY_AXES = ("num", "channels", "height", "width")


def write_caffemodel(graph: Graph, path: str | Path, layers: Iterable[Layer] | None = None) -> int:
    """Write the weights of `graph` (or of some of its layers) and return the file's size in bytes."""
    chosen = graph.layers if layers is None else list(layers)
    names = blob_names(graph)
    with open(path, "wb", buffering=PIECE // 4) as file:
        net = Message()
        if graph.name:
            net.add("name", Quoted(graph.name))
        file.write(encode(net, "NetParameter"))
        for layer in chosen:
            header = encode(layer_message(layer, names), "LayerParameter")
            _write_layer(file, header, layer)
        return file.tell()


def _write_layer(file, header: bytes, layer: Layer) -> None:
    blobs = [_blob(array, known=layer.params is not None) for array in layer.weights]
    size = len(header) + sum(len(head) + data.nbytes for head, data in blobs)
    file.write(prefix(schema.fields("NetParameter")["layer"].number, size) + header)
    for head, data in blobs:
        file.write(head)
        write_values(file, data)


def _blob(array: np.ndarray, known: bool) -> tuple[bytes, np.ndarray]:
    """Return the beginning of an array's BlobProto, with its shape, and the array's values as float32.

    known: whether the layer's parameters are known. If not, (1, 1, 1, N) may be what an old file has for (N,). Caffe
    takes it for either if num, channels, height and width say so, but only for itself if `shape` does. Caffe:
    blob.cpp, ShapeEquals.
    """
    layer, blob = (schema.fields(name) for name in ("LayerParameter", "BlobProto"))
    values = np.ascontiguousarray(array, dtype="<f4")
    if not known and array.ndim == len(_LEGACY_AXES) and array.shape[0] == 1:
        axes = zip(_LEGACY_AXES, array.shape, strict=True)
        shape = b"".join(key(blob[name].number, VARINT) + varint(size) for name, size in axes)
    else:
        dims = block(schema.fields("BlobShape")["dim"].number, b"".join(map(varint, array.shape)))
        shape = block(blob["shape"].number, dims)
    head = shape + prefix(blob["data"].number, values.nbytes)
    return prefix(layer["blobs"].number, len(head) + values.nbytes) + head, values
