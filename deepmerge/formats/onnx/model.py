"""Graph → onnx.ModelProto."""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from deepmerge.errors import EngineError
from deepmerge.formats import LRN_FORMS, WRITTEN_OUT
from deepmerge.formats.onnx.batch import Dims, free_dims, free_inputs, known_shapes
from deepmerge.formats.onnx.builder import Builder, FixedBatch
from deepmerge.formats.onnx.table import WRITERS, lacks, refusal
from deepmerge.graph.graph import Blob, Graph
from deepmerge.names import for_onnx

OPSET = 17
IR_VERSION = 8  # that of opset 17
BATCH = "N"


def to_onnx(
    graph: Graph, blobs: Sequence[Blob] = (), free_batch: bool = True, lrn: str = WRITTEN_OUT
) -> onnx.ModelProto:
    """Return the network as an ONNX model (opset 17) that computes what Caffe computes, in float32.

    An input that no layer reads is not an output of the model, although Caffe counts it as one. The model depends on
    the graph alone, to the byte.

    Parameters
    ----------
    graph : Graph
        The network, with its weights.
    blobs : sequence of Blob
        Blobs that become outputs in addition to the network's own.
    free_batch : bool
        Whether the first axis of the inputs becomes "N" if the network runs at any batch size. If not, or if a layer
        is made for one batch size (a Reshape to a fixed size, a Slice of axis 0), all shapes are the declared ones.
    lrn : str
        "written-out" or "op": whether LRN over channels becomes several nodes, which ONNX Runtime runs several times
        as fast, or ONNX's LRN, for runtimes that run that well.

    Raises
    ------
    EngineError
        A layer cannot be written, or has no weights; or `lrn` is something else.
    ShapeError
        The layers do not fit together.
    """
    if lrn not in LRN_FORMS:
        raise EngineError(f"there is no form {lrn!r} of LRN", remedy=f"use one of {', '.join(LRN_FORMS)}")
    for layer in graph.layers:
        if lacks(layer):
            raise refusal(layer)
    shapes = known_shapes(graph)
    dims = free_dims(graph, shapes) if free_batch else None
    if dims is not None:
        try:
            return _model(graph, _built(graph, dims, lrn), blobs, shapes)
        except FixedBatch:
            pass
    return _model(graph, _built(graph, dict(shapes), lrn), blobs, shapes)


def _built(graph: Graph, dims: dict[Blob, Dims], lrn: str) -> Builder:
    builder = Builder(graph, dims, lrn)
    for layer in graph.layers:
        if layer.type != "Input":
            builder.begin(layer)
            builder.end(WRITERS[layer.type](builder, layer))
    return builder


def _model(
    graph: Graph, builder: Builder, blobs: Sequence[Blob], shapes: dict[Blob, tuple[int, ...]]
) -> onnx.ModelProto:
    inputs = graph.inputs
    batch = {shapes[blob][0] for blob in free_inputs(graph, shapes)}
    outputs = [blob for blob in dict.fromkeys([*graph.outputs, *blobs]) if blob not in inputs]
    if not outputs:
        raise EngineError(f"network {graph.name!r} computes nothing: it has no output")

    def declared(blob: Blob) -> onnx.ValueInfoProto:
        dims: list[int | str | None] = list(builder.dims[blob])
        if dims[:1] == [None] and shapes[blob][0] in batch:
            dims[0] = BATCH
        return onnx.helper.make_tensor_value_info(builder.of(blob), onnx.TensorProto.FLOAT, dims)

    made = onnx.helper.make_graph(
        builder.nodes,
        for_onnx(graph.name) or "network",
        [declared(b) for b in inputs],
        [declared(b) for b in outputs],
        builder.initializers,
    )
    opset = onnx.helper.make_opsetid("", OPSET)
    return onnx.helper.make_model(made, opset_imports=[opset], ir_version=IR_VERSION, producer_name="deepmerge")
