"""onnx.ModelProto → files."""

from __future__ import annotations

from pathlib import Path

import onnx

from deepmerge.formats import WRITTEN_OUT
from deepmerge.formats.onnx.model import to_onnx
from deepmerge.graph.graph import Graph

LIMIT = 2**31 - 1  # bytes that protobuf puts into one message
_NODES = 2**24  # bytes, plenty for everything but the weights
_ALIGNMENT = 4096  # a page, so that runtimes can map the weights


def write_onnx(graph: Graph, path: str | Path, limit: int = LIMIT, lrn: str = WRITTEN_OUT) -> None:
    """Write the network as an ONNX file; see to_onnx. Over `limit` bytes, the weights go to `path` + ".data"."""
    write_model(to_onnx(graph, lrn=lrn), path, limit)


def write_model(model: onnx.ModelProto, path: str | Path, limit: int = LIMIT) -> None:
    """Write a model. Over `limit` bytes, its weights are moved out of `model`, to `path` + ".data"."""
    path = Path(path)
    if too_large(model, limit):
        _move_weights(model, path.with_name(path.name + ".data"))
    path.write_bytes(model.SerializeToString(deterministic=True))


def too_large(model: onnx.ModelProto, limit: int = LIMIT) -> bool:
    """Return whether the model is too large for one message. Protobuf would raise if it were asked for the size."""
    return sum(len(tensor.raw_data) for tensor in model.graph.initializer) > limit - _NODES


def _move_weights(model: onnx.ModelProto, path: Path) -> None:
    """Move weights of a page or more to a file, each to the start of a page.

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
