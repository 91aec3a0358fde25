"""The layers' times in ONNX Runtime: from its profiler, with all of its optimisations off, node by node."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deepmerge.errors import EngineError
from deepmerge.text import flat

if TYPE_CHECKING:
    from deepmerge.graph import Graph
    from deepmerge.graph.graph import Layer

KERNEL = "_kernel_time"
MICRO = 1e-6


def time_layers(
    graph: Graph, arrays: Mapping[str, np.ndarray], threads: int = 1, repeat: int = 15, warmup: int = 2
) -> tuple[list[tuple[str, str, list[float]]], list[float]]:
    """(layer, type, seconds of each forward) for each layer but Inputs, and the seconds of each forward as a whole.

    arrays: the inputs. Fusion is off: with it, one node does several layers' work. A layer's time is the sum of its nodes'; one
    without nodes (a Dropout, a Split) takes none. Times are whole microseconds, as ONNX Runtime counts them.
    """
    from deepmerge.formats.onnx import to_onnx, too_large, write_model
    from deepmerge.formats.onnx.batch import with_firsts

    graph = with_firsts(graph, {name: array.shape[0] for name, array in arrays.items() if array.ndim})
    model = to_onnx(graph, free_batch=False)
    owners = {node.name: layer for node, layer in node_layers(graph, model)}
    fed = {value.name for value in model.graph.input}
    with tempfile.TemporaryDirectory(prefix="deepmerge-") as folder:
        session = _session(model, threads, Path(folder), too_large, write_model)
        try:
            for _ in range(warmup + repeat):
                session.run(None, {name: array for name, array in arrays.items() if name in fed})
            events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        except Exception as error:  # onnxruntime's exceptions have no base of their own
            raise EngineError(f"ONNX Runtime cannot profile the network: {flat(error)}") from None
    return _collect(graph, events, owners, warmup)


def node_layers(graph: Graph, model: Any) -> list[tuple[Any, Layer]]:
    """Each node of the model that `to_onnx` makes of the graph, and the layer that it is of.

    A node that makes a blob is of the blob's layer; one that makes something in between is of its reader's.
    """
    from deepmerge.formats.onnx import tensor_names

    makers: dict[str, Layer] = {tensor: blob.producer for blob, tensor in tensor_names(graph).items()}
    pairs: list[tuple[Any, Layer]] = []
    for node in reversed(model.graph.node):
        layer = next((makers[name] for name in node.output if name in makers), None)
        if layer is not None:  # what nobody reads is of no layer, and is not computed
            pairs.append((node, layer))
            for name in node.input:
                makers.setdefault(name, layer)
    return pairs[::-1]


def _session(model: Any, threads: int, folder: Path, too_large, write_model) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    options.enable_profiling, options.profile_file_prefix = True, str(folder / "profile")
    try:
        if too_large(model):
            write_model(model, folder / "model.onnx")
            return onnxruntime.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # as above
        raise EngineError(f"ONNX Runtime cannot load the network: {flat(error)}") from None


def _collect(graph: Graph, events: list[dict], owners: Mapping[str, Layer], warmup: int):
    """The profile's events, run by run. Nodes that are of no layer stand behind the layers, by their own names."""
    runs = sorted((e for e in events if e.get("name") == "model_run"), key=lambda e: e["ts"])[warmup:]
    times: dict[tuple[str, str], list[float]] = {
        (layer.name, layer.type): [0.0] * len(runs) for layer in graph.layers if layer.type != "Input"
    }
    for event in events:
        if event.get("cat") != "Node" or not event["name"].endswith(KERNEL):
            continue
        name = event["name"][: -len(KERNEL)]
        layer = owners.get(name)
        key = (layer.name, layer.type) if layer else (name, event["args"].get("op_name", ""))
        for turn, run in enumerate(runs):
            if run["ts"] <= event["ts"] < run["ts"] + run["dur"]:
                times.setdefault(key, [0.0] * len(runs))[turn] += event["dur"] * MICRO
                break
    return [(*key, seconds) for key, seconds in times.items()], [run["dur"] * MICRO for run in runs]
