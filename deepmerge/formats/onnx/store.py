"""onnx.ModelProto → files."""

from __future__ import annotations

from pathlib import Path

import onnx

from deepmerge.formats.onnx.model import to_onnx
from deepmerge.graph.graph import Graph

LIMIT = 2**31 - 1  # bytes that protobuf puts into one message
_NODES = 2**24  # bytes, plenty for everything but the weights
_ALIGNMENT = 4096  # a page, so that runtimes can map the weights


def write_onnx(graph: Graph, path: str | Path, limit: int = LIMIT) -> None:
    """The network as an ONNX file; see to_onnx. A model over `limit` bytes has its weights in `path` + ".data"."""
    write_model(to_onnx(graph), path, limit)


def write_model(model: onnx.ModelProto, path: str | Path, limit: int = LIMIT) -> None:
    """Write a model; over `limit` bytes, its weights go to `path` + ".data", and leave the model in memory, too."""
    path = Path(path)
    if too_large(model, limit):
        _move_weights(model, path.with_name(path.name + ".data"))
    path.write_bytes(model.SerializeToString(deterministic=True))


def too_large(model: onnx.ModelProto, limit: int = LIMIT) -> bool:
    """Whether the weights leave no room for the nodes in one message. Asked for its size, protobuf would raise."""
    return sum(len(tensor.raw_data) for tensor in model.graph.initializer) > limit - _NODES


def _move_weights(model: onnx.ModelProto, path: Path) -> None:
    """Weights of a page and more into a file of their own, each at the start of a page.

    Source: onnx.proto, TensorProto.external_data.
    """
    with path.open("wb") as file:
        for tensor in model.graph.initializer:
            if len(tensor.raw_data) < _ALIGNMENT:
                continue
            file.write(bytes(-file.tell() % _ALIGNMENT))
            entries = {"location": path.name, "offset": file.tell(), "length": len(tensor.raw_data)}
            file.write(tensor.raw_data)
            tensor.ClearField("raw_data")
            tensor.data_location = onnx.TensorProto.EXTERNAL
            for key, value in entries.items():
                tensor.external_data.add(key=key, value=str(value))
