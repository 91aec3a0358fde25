"""A network in int8, by ONNX Runtime's own quantization: QDQ, weights per channel, activations by images.

Activations are uint8 with a zero point, weights int8 and symmetric. Convolutions, inner products, and the ReLUs, MAX
poolings and Concats around them become int8. Everything else stays in float32: LRN and sums of branches (Eltwise),
where int8 is no faster in ONNX Runtime and, for LRN, less exact; averages and softmax, which take no time.

Source: onnxruntime/quantization/quantize.py, quantize_static.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deepmerge.engines.ort import node_layers
from deepmerge.errors import EngineError
from deepmerge.formats import INT8_METHODS, WRITTEN_OUT
from deepmerge.temporary import temporary_folder
from deepmerge.text import flat, unused

if TYPE_CHECKING:
    from deepmerge.engines.base import Feeds
    from deepmerge.graph import Graph

MULTIPLIES = ("Conv", "ConvTranspose", "Gemm", "MatMul")
FOLLOWS = ("Relu", "Concat", "MaxPool")  # int8 if what they read is
_ORT = {"average": "MinMax", "minmax": "MinMax", "percentile": "Percentile", "entropy": "Entropy"}
_PREPARED = "onnx.quant.pre_process"  # without it, ONNX Runtime advises to fold BatchNorm, which exact passes do
_ADDED = ("_scale", "_zero_point", "_quantized")  # endings of what ONNX Runtime calls by a value that becomes int8
_LARGEST = np.float32(np.finfo(np.float32).max)


def quantize(
    graph: Graph,
    feeds: Iterable[Feeds],
    count: int,
    method: str = INT8_METHODS[0],
    keep: Collection[str] = (),
    lrn: str = WRITTEN_OUT,
) -> Any:
    """Return the network as an ONNX model in int8. The same graph, feeds and choices give the same model.

    Parameters
    ----------
    graph : Graph
        The network, with its weights.
    feeds : iterable of mappings, input blob → float32 array (N, …)
        Batches, by which the ranges of activations are chosen.
    count : int
        How many batches there are.
    method : str
        "average": from the least to the greatest value of a batch, each averaged over the batches, so that rare
        extremes do not take bits from all other values. "minmax": all values. "percentile": 99.999 % of the values.
        "entropy": the range whose distribution in int8 is nearest to that in float32.
    keep : collection of str
        Names of layers that stay in float32.
    lrn : str
        See to_onnx.

    Raises
    ------
    EngineError
        If ONNX Runtime cannot quantize the network, or `method` is none.
    """
    if method not in INT8_METHODS:
        raise EngineError(f"there is no method {method!r} for int8", remedy=f"use one of {', '.join(INT8_METHODS)}")
    from deepmerge.formats.onnx import tensor_names, to_onnx, too_large, write_model

    model = to_onnx(graph, lrn=lrn)
    kept = {node.name for node, layer in node_layers(graph, model) if layer.name in keep}
    kept |= keep_pools(model, kept)
    keep_apart(model)
    large = too_large(model)
    tensors = tensor_names(graph)
    names = {blob.name: tensors[blob] for blob in graph.inputs}
    named = ({names[blob]: array for blob, array in batch.items()} for batch in feeds)
    model.metadata_props.add(key=_PREPARED, value="onnxruntime.quant")
    with temporary_folder() as folder, _silence():
        source, made = Path(folder, "float.onnx"), Path(folder, "int8.onnx")
        write_model(model, source)
        try:
            return _run(source, made, _Reader(named, count), method, sorted(kept), large)
        except Exception as error:  # those of onnx and onnxruntime have no base class of their own
            text = flat(error) or type(error).__name__
            raise EngineError(f"ONNX Runtime cannot quantize the network: {text}") from None


def _run(source: Path, made: Path, reader: _Reader, method: str, kept: list[str], large: bool) -> Any:
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    # Histograms are made of whole blobs, so batch by batch; of MinMax, only extremes are kept, and averaged at the end.
    how = {"average": {"CalibMovingAverage": True}, "minmax": {}}.get(method, {"CalibStridedMinMax": 1})
    quantize_static(
        str(source),
        str(made),
        reader,
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=[*MULTIPLIES, *FOLLOWS],
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=kept,
        use_external_data_format=large,
        calibrate_method=getattr(CalibrationMethod, _ORT[method]),
        extra_options=how,
    )
    model = onnx.load(str(made))
    del model.metadata_props[:]
    model.producer_name = "deepmerge"
    return model


def keep_pools(model: Any, kept: Collection[str]) -> set[str]:
    """Return the nodes that keep MAX poolings of float values in float32. Changes the model, not what it computes.

    ONNX Runtime moves a quantization before a pooling. After an int8 convolution that is well; elsewhere channels come
    first, and there int8's pooling takes ten times as long as float32's (192 channels of 56×56: 2.8 ms, 0.3). A Min
    with the largest number, between the pooling and the quantization, keeps them in their order.
    """
    import onnx

    names = {name for node in model.graph.node for name in (*node.input, *node.output)}
    int8: set[str] = set()
    floats: dict[str, str] = {}  # what such a pooling makes → the name of the value before Min
    nodes, added = [], set()
    for node in model.graph.node:
        nodes.append(node)
        if node.name not in kept and (node.op_type in MULTIPLIES or node.op_type in FOLLOWS and node.input[0] in int8):
            int8.add(node.output[0])
        elif node.op_type == "MaxPool":
            node.input[0] = floats.get(node.input[0], node.input[0])
            made, before = node.output[0], unused(f"{node.output[0]}/float", names)
            names.add(before)
            node.output[0] = floats[made] = before
            nodes.append(onnx.helper.make_node("Min", [before, "largest"], [made], name=f"{node.name}/Min"))
            added |= {node.name, nodes[-1].name}
    if floats:
        largest = unused("largest", names)
        for node in nodes:
            if node.name in added and node.op_type == "Min":
                node.input[1] = largest
        model.graph.initializer.append(onnx.numpy_helper.from_array(_LARGEST, largest))
        del model.graph.node[:]
        model.graph.node.extend(nodes)
    return added


def keep_apart(model: Any) -> None:
    """Rename values whose names ONNX Runtime would give to what it adds: the scale of conv1 is called conv1_scale.

    Inputs and outputs keep their names, so where one of them ends so, the other value gets another name.
    """
    outside = {value.name for value in (*model.graph.input, *model.graph.output)}
    names = {name: None for node in model.graph.node for name in (*node.input, *node.output)}  # in order
    renamed: dict[str, str] = {}
    for name in names:
        stems = {name.removesuffix(ending) for ending in _ADDED if name.endswith(ending)} & names.keys()
        for one in sorted(stems) if name in outside else [name] * bool(stems):
            if one not in outside and one not in renamed:
                renamed[one] = unused(f"{one}/value", {*names, *renamed.values()})
    for node in model.graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    for value in (*model.graph.initializer, *model.graph.value_info):
        value.name = renamed.get(value.name, value.name)


class _Reader:
    """Batches as ONNX Runtime's CalibrationDataReader gives them: one after another, all or a few at a time."""

    def __init__(self, batches: Iterator[dict[str, np.ndarray]], count: int) -> None:
        self._batches, self._count = batches, count
        self._turn = batches

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._turn, None)

    def set_range(self, start_index: int, end_index: int) -> None:
        self._turn = islice(self._batches, end_index - start_index)

    def __len__(self) -> int:
        return self._count


@contextmanager
def _silence() -> Iterator[None]:
    """Keep what ONNX Runtime's quantization prints, logs and warns of from stdout and stderr."""
    import onnxruntime

    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    onnxruntime.set_default_logger_severity(3)
    try:
        with redirect_stdout(io.StringIO()), np.errstate(all="ignore"):
            yield
    finally:
        logging.disable(before)
        onnxruntime.set_default_logger_severity(2)  # ONNX Runtime's own default
