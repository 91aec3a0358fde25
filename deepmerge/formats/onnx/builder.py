"""Builder: writes the nodes of the layer functions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx

from deepmerge.errors import EngineError
from deepmerge.formats.onnx.batch import Dims
from deepmerge.formats.onnx.names import take, tensor_names
from deepmerge.graph.graph import Blob, Graph, Layer
from deepmerge.names import for_onnx


class FixedBatch(Exception):  # noqa: N818  # not an error
    """Raised while building for any batch size, by a layer that needs the number."""


class Builder:
    """Nodes and initializers of one network, layer after layer.

    A layer function gets (builder, layer), writes nodes with `op`, and returns the tensor of its top, or a list with
    one for each top. dims: each blob's shape, with None for a free first size. lrn: one of LRN_FORMS.
    """

    def __init__(self, graph: Graph, dims: dict[Blob, Dims], lrn: str):
        self.graph = graph
        self.dims = dims
        self.lrn = lrn
        self.names = tensor_names(graph)
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self._taken = set(self.names.values())
        self._node_names: set[str] = set()
        self._layer = Layer("", "")
        self._first = 0
        self._owners = graph.shared_weights()

    # -- what a layer function asks for ------------------------------------------------------------

    def of(self, blob: Blob) -> str:
        """Return the blob's tensor."""
        return self.names[blob]

    def shape(self, blob: Blob) -> Dims:
        """Return the blob's shape; a free first size is None."""
        return self.dims[blob]

    def sizes(self, blob: Blob) -> tuple[int, ...]:
        """Return the blob's shape in numbers. If the first size is free, the network gets a fixed batch."""
        dims = self.dims[blob]
        if None in dims:
            raise FixedBatch
        return dims

    def axis(self, blob: Blob, axis: int) -> int:
        """Return `axis` counted from the front."""
        return axis % len(self.dims[blob])

    def weight(self, index: int) -> np.ndarray:
        """Return a learned blob of the current layer, its own or a shared one. EngineError if there is none."""
        layer = self._layer
        if index < len(layer.weights):
            return layer.weights[index]
        owner = self._owners.get(layer.blob_name(index))
        if owner is None:
            raise EngineError(f"layer {layer.name!r} ({layer.type}) has no weights; give the network its caffemodel")
        return owner.array

    # -- what it writes ----------------------------------------------------------------------------

    def op(self, kind: str, *inputs: str | np.ndarray | np.generic, outputs: int = 1, **attributes):
        """Write a node and return the name of its output, or a list. Arrays among the inputs become initializers."""
        names = [i if isinstance(i, str) else self.constant(i) for i in inputs]
        made = [self._fresh(kind.lower()) for _ in range(outputs)]
        given = {key: value for key, value in attributes.items() if value is not None}
        self.nodes.append(onnx.helper.make_node(kind, names, made, **given))
        return made[0] if outputs == 1 else made

    def constant(self, array: np.ndarray | np.generic, stem: str = "constant") -> str:
        """Write an initializer with the array's values: int64 for integers, else float32."""
        array = np.asarray(array)
        wanted = np.int64 if array.dtype.kind in "iu" else np.float32
        name = self._fresh(stem)
        # Not np.ascontiguousarray: it makes a scalar an array of one axis.
        self.initializers.append(onnx.numpy_helper.from_array(np.require(array, wanted, "C"), name))
        return name

    def reshape(self, tensor: str, dims: Dims) -> str:
        """Write a Reshape. One of the sizes may be None."""
        return self.op("Reshape", tensor, np.array([-1 if size is None else size for size in dims], np.int64))

    def integers(self, tensor: str) -> str:
        """Write a cast of indices, which Caffe stores as floats, to int64."""
        return self.op("Cast", tensor, to=onnx.TensorProto.INT64)

    def floats(self, tensor: str) -> str:
        """Write a cast of integers or booleans to float32."""
        return self.op("Cast", tensor, to=onnx.TensorProto.FLOAT)

    def refuse(self, reason: str, remedy: str = "") -> EngineError:
        """Return the error that the current layer cannot be written."""
        text = f"layer {self._layer.name!r} ({self._layer.type}): {reason}"
        return EngineError(text, layer=self._layer.name, remedy=remedy)

    # -- layer after layer -------------------------------------------------------------------------

    def begin(self, layer: Layer) -> None:
        """Start writing a layer."""
        self._layer, self._first = layer, len(self.nodes)

    def end(self, values: str | Sequence[str]) -> None:
        """Rename the current layer's values, which all differ, to the names of its tops."""
        made = {name for node in self.nodes[self._first :] for name in node.output}
        for value, top in zip([values] if isinstance(values, str) else values, self._layer.tops, strict=True):
            if value in made:
                self._rename(value, self.names[top])
                made.discard(value)
            else:
                self.nodes.append(onnx.helper.make_node("Identity", [value], [self.names[top]]))
        mine = self.nodes[self._first :]
        for node in mine:
            name = for_onnx(self._layer.name)
            base = name if len(mine) == 1 else f"{name}/{node.op_type}"
            node.name = take(base or node.op_type, self._node_names)

    def _rename(self, old: str, new: str) -> None:
        for node in self.nodes[self._first :]:
            for names in (node.input, node.output):
                names[:] = [new if name == old else name for name in names]

    def _fresh(self, stem: str) -> str:
        return take(f"{for_onnx(self._layer.name)}/{stem}", self._taken)
