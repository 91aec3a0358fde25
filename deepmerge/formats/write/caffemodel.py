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
from deepmerge.formats.write.wire import block, encode, prefix, varint
from deepmerge.graph.graph import Graph, Layer
from deepmerge.graph.tree import Message, Quoted


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
            _write_layer(file, header, layer.weights)
        return file.tell()


def _write_layer(file, header: bytes, weights: list[np.ndarray]) -> None:
    blobs = list(map(_blob, weights))
    size = len(header) + sum(len(head) + data.nbytes for head, data in blobs)
    file.write(prefix(schema.fields("NetParameter")["layer"].number, size) + header)
    for head, data in blobs:
        file.write(head)
        write_values(file, data)


def _blob(array: np.ndarray) -> tuple[bytes, np.ndarray]:
    """Return the beginning of an array's BlobProto, with its shape, and the array's values as float32."""
    layer, blob, shape = (schema.fields(name) for name in ("LayerParameter", "BlobProto", "BlobShape"))
    values = np.ascontiguousarray(array, dtype="<f4")
    sizes = block(shape["dim"].number, b"".join(map(varint, array.shape)))
    head = block(blob["shape"].number, sizes) + prefix(blob["data"].number, values.nbytes)
    return prefix(layer["blobs"].number, len(head) + values.nbytes) + head, values
