"""ONNX Runtime as an engine, the default. It gets the ONNX model of formats/onnx.

    with OrtEngine().load(graph) as session:
        prob = session.forward({"data": images})["prob"]

It runs in float32 on the CPU. The same feeds on the same number of threads give the same bytes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deepmerge.engines.base import checked_blobs, checked_feeds
from deepmerge.errors import EngineError, ShapeError
from deepmerge.formats import OPERATOR, WRITTEN_OUT
from deepmerge.temporary import temporary_folder
from deepmerge.text import flat

if TYPE_CHECKING:
    from deepmerge.engines.base import Feeds
    from deepmerge.graph import Blob, Graph
    from deepmerge.graph.graph import Layer

_KERNEL = "_kernel_time"  # the end of a node's name in the profile
_MICRO = 1e-6


class OrtEngine:
    """ONNX Runtime. EngineError if onnx or onnxruntime is not installed. lrn: the form of LRN; see to_onnx."""

    name = "ort"
    lrn = WRITTEN_OUT

    def __init__(self) -> None:
        try:
            import onnx  # noqa: F401
            import onnxruntime  # noqa: F401
        except ImportError as error:
            remedy = "pip install onnx onnxruntime"
            raise EngineError(f"engine 'ort' needs {error.name}", remedy=remedy) from None

    def load(self, graph: Graph, threads: int = 1) -> OrtSession:
        """Load the network. EngineError for a layer that ONNX does not have, or that has no weights."""
        return OrtSession(graph, threads, self.lrn)

    def load_onnx(self, file: Path, graph: Graph, threads: int = 1) -> OnnxSession:
        """Load an ONNX file that convert wrote. graph: the network it was written from, with weights or without."""
        return OnnxSession(file, graph, threads)

    def lacks(self, layer: Layer) -> bool:
        """Return whether no network with such a layer can be loaded."""
        from deepmerge.formats.onnx.table import lacks

        return lacks(layer)


class OrtLrnOpEngine(OrtEngine):
    """ONNX Runtime with its own LRN, as networks from other converters have it. To compare times with."""

    name = "ort-lrn-op"
    lrn = OPERATOR


class OrtSession:
    """A network in ONNX Runtime. inputs: blob → declared shape. outputs, blobs: names.

    Another model is made for a batch that the model does not take (it has a Reshape to a fixed size, or inputs whose
    batches differ), and for blobs that are not outputs. The last such models are kept.
    """

    def __init__(self, graph: Graph, threads: int = 1, lrn: str = WRITTEN_OUT) -> None:
        from deepmerge.formats.onnx.batch import known_shapes

        shapes = known_shapes(graph)
        self._graph: Graph | None = graph.copy()  # the caller may change the graph later
        self._threads, self._lrn = threads, lrn
        self.inputs: dict[str, tuple[int, ...]] = {blob.name: shapes[blob] for blob in graph.inputs}
        self.outputs: tuple[str, ...] = tuple(blob.name for blob in graph.outputs)
        self.blobs: tuple[str, ...] = tuple(dict.fromkeys(blob.name for blob in graph.blobs))
        self._main = _Model(self._graph, (), threads, lrn)
        self._others: dict[bool, tuple[tuple, _Model]] = {}
        self._last = {name: np.zeros(shape, np.float32) for name, shape in self.inputs.items()}
        self.forward_seconds: list[float] | None = None

    def forward(self, feeds: Feeds, blobs: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Run once; see base.Session. A blob that layers in place write has the value of the last one."""
        graph = self._open()
        arrays = checked_feeds(self.inputs, feeds)
        names = checked_blobs(self.blobs, self.outputs if blobs is None else blobs)
        last = graph.finals
        fed = set(graph.inputs)
        computed = [last[name] for name in names if last[name] not in fed]
        results = self._model(arrays, [blob for blob in computed if blob.consumers]).run(arrays, computed)
        self._last = arrays
        # ONNX Runtime's arrays are views of its arena; one that is kept would keep all of it, even after close().
        return {name: (results[last[name]] if last[name] in results else arrays[name]).copy() for name in names}

    def time_once(self) -> float:
        """Return the seconds of one forward of the outputs, on the last feeds (zeros if there are none)."""
        self._open()
        model = self._model(self._last, ())
        start = time.perf_counter()
        model.run(self._last, None)
        return time.perf_counter() - start

    def time_layers(self, repeat: int = 15, warmup: int = 2) -> list[tuple[str, str, list[float]]]:
        """Return (layer, type, seconds of each forward) on the last feeds, without fusion; see time_layers.

        forward_seconds: the seconds of each of these forwards as a whole.
        """
        layers, self.forward_seconds = time_layers(self._open(), self._last, self._threads, repeat, warmup, self._lrn)
        return layers

    def close(self) -> None:
        """Release the models."""
        self._graph = self._main = None
        self._others, self._last = {}, {}

    def _open(self) -> Graph:
        if self._graph is None:
            raise EngineError("the session is closed")
        return self._graph

    def _model(self, arrays: Mapping[str, np.ndarray], extra: Sequence[Blob]) -> _Model:
        """Return a model that takes these arrays, and has these blobs among its outputs."""
        from deepmerge.formats.onnx.batch import with_firsts

        firsts = {name: array.shape[0] for name, array in arrays.items() if array.ndim}
        fixed = {} if self._main.takes(firsts) else firsts
        if not fixed and not extra:
            return self._main
        key = fixed, set(extra)
        kept = self._others.get(bool(extra))
        if kept is None or kept[0] != key:
            self._others.pop(bool(extra), None)  # each holds all the weights
            graph = with_firsts(self._graph, fixed) if fixed else self._graph
            alike = dict(zip(self._graph.blobs, graph.blobs, strict=True))
            try:
                model = _Model(graph, [alike[blob] for blob in extra], self._threads, self._lrn, not fixed, self._graph)
            except ShapeError as error:
                raise EngineError(f"the network cannot run on what was fed: {error}") from None
            self._others[bool(extra)] = kept = key, model
        return kept[1]

    def __enter__(self) -> OrtSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class OnnxSession:
    """An ONNX model, or the file of one, in ONNX Runtime.

    inputs: blob → declared shape. outputs, blobs: the network's outputs. shapes: theirs, as declared. fixed_batch: the
    only batch that it runs at; None for any.
    """

    def __init__(self, model: Any, graph: Graph, threads: int = 1) -> None:
        from deepmerge.formats.onnx.batch import known_shapes

        shapes = known_shapes(graph)
        self.inputs: dict[str, tuple[int, ...]] = {blob.name: shapes[blob] for blob in graph.inputs}
        self.outputs: tuple[str, ...] = tuple(blob.name for blob in graph.outputs if blob.producer.type != "Input")
        self.shapes: dict[str, tuple[int, ...]] = {blob.name: shapes[blob] for blob in graph.outputs}
        self.blobs = self.outputs
        self._session = _session(model, threads)
        found = [[value.name for value in values()] for values in (self._session.get_inputs, self._session.get_outputs)]
        if [len(names) for names in found] != [len(self.inputs), len(self.outputs)]:
            file = model if isinstance(model, Path) else "the model"
            raise EngineError(f"{file} is not of the network beside it", remedy="convert again")
        self._fed = dict(zip(self.inputs, found[0], strict=True))
        self._made = dict(zip(self.outputs, found[1], strict=True))
        read = self._session.get_inputs()
        first = next(iter(read[0].shape), None) if read else None
        self.fixed_batch: int | None = first if isinstance(first, int) else None
        self._last = {name: np.zeros(shape, np.float32) for name, shape in self.inputs.items()}

    def forward(self, feeds: Feeds, blobs: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Run once; see base.Session. Blobs may be outputs alone."""
        arrays = checked_feeds(self.inputs, feeds)
        names = checked_blobs(self.outputs, self.outputs if blobs is None else blobs)
        self._last = arrays
        return dict(zip(names, self._run([self._made[name] for name in names]), strict=True))

    def time_once(self) -> float:
        """Return the seconds of one forward of the outputs, on the last feeds (zeros if there are none)."""
        start = time.perf_counter()
        self._run(None)
        return time.perf_counter() - start

    def close(self) -> None:
        """Release the model."""
        self._session = None

    def _run(self, wanted: Sequence[str] | None) -> list[np.ndarray]:
        if self._session is None:
            raise EngineError("the session is closed")
        try:
            return self._session.run(wanted, {self._fed[name]: array for name, array in self._last.items()})
        except Exception as error:  # onnxruntime's exceptions have no base class of their own
            raise EngineError(f"ONNX Runtime cannot run the network: {flat(error)}") from None

    def __enter__(self) -> OnnxSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Model:
    """One ONNX model in ONNX Runtime.

    extra: blobs that become outputs. like: the graph whose blobs `run` gets, if that is another copy of `graph`.
    """

    def __init__(
        self,
        graph: Graph,
        extra: Sequence[Blob],
        threads: int,
        lrn: str,
        free_batch: bool = True,
        like: Graph | None = None,
    ) -> None:
        from deepmerge.formats.onnx import tensor_names, to_onnx

        model = to_onnx(graph, extra, free_batch, lrn)
        self._tensors = tensor_names(like or graph)
        self._inputs = {blob.name: self._tensors[blob] for blob in (like or graph).inputs}
        self._firsts = {v.name: _first(v) for v in model.graph.input}
        self._session = _session(model, threads)
        self._fed = {i.name for i in self._session.get_inputs()}

    def takes(self, firsts: Mapping[str, int]) -> bool:
        """Return whether the model runs on inputs with these first sizes."""
        free = {size for name, size in firsts.items() if self._firsts[self._inputs[name]] == "N"}
        return len(free) < 2 and all(self._firsts[self._inputs[n]] in (size, "N") for n, size in firsts.items())

    def run(self, arrays: Mapping[str, np.ndarray], blobs: Sequence[Blob] | None) -> dict[Blob, np.ndarray]:
        wanted = None if blobs is None else [self._tensors[blob] for blob in blobs]
        if wanted == []:
            return {}
        try:
            fed = {self._inputs[name]: array for name, array in arrays.items()}
            values = self._session.run(wanted, {name: array for name, array in fed.items() if name in self._fed})
        except Exception as error:  # onnxruntime's exceptions have no base class of their own
            raise EngineError(f"ONNX Runtime cannot run the network: {flat(error)}") from None
        return dict(zip(blobs or (), values, strict=False))


def _session(model: Any, threads: int, profile: Path | None = None) -> Any:
    """Return an InferenceSession with one running order, and no log messages.

    model: a ModelProto, or the file of one. profile: where to write the times of the nodes; then all of ONNX Runtime's
    optimisations are off, else on.
    """
    import onnxruntime

    from deepmerge.formats.onnx import too_large, write_model

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    if profile is None:
        # Threads that go on spinning after a forward would take their core from the session timed next.
        options.add_session_config_entry("session.force_spinning_stop", "1")
    else:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.enable_profiling, options.profile_file_prefix = True, str(profile)
    providers = ["CPUExecutionProvider"]
    try:
        if isinstance(model, Path):
            return onnxruntime.InferenceSession(str(model), options, providers=providers)
        if not too_large(model):
            return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=providers)
        with temporary_folder() as folder:
            path = Path(folder, "model.onnx")
            write_model(model, path)
            return onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # onnxruntime's exceptions have no base class of their own
        raise EngineError(f"ONNX Runtime cannot load the network: {flat(error)}") from None


def _first(value: Any) -> int | str | None:
    """Return the first size of a model's input: a number, or the name of a free size."""
    dims = value.type.tensor_type.shape.dim
    return (dims[0].dim_param or dims[0].dim_value) if dims else None


def time_layers(
    graph: Graph,
    arrays: Mapping[str, np.ndarray],
    threads: int = 1,
    repeat: int = 15,
    warmup: int = 2,
    lrn: str = WRITTEN_OUT,
) -> tuple[list[tuple[str, str, list[float]]], list[float]]:
    """Return (layer, type, seconds of each forward) for each layer but Inputs, and the seconds of whole forwards.

    arrays: the inputs. Fusion is off, since a fused node does the work of several layers. A layer's time is the sum of
    its nodes' times; 0 for one without nodes (a Dropout, a Split). ONNX Runtime counts whole microseconds.
    """
    from deepmerge.formats.onnx import tensor_names, to_onnx
    from deepmerge.formats.onnx.batch import with_firsts

    graph = with_firsts(graph, {name: array.shape[0] for name, array in arrays.items() if array.ndim})
    model = to_onnx(graph, free_batch=False, lrn=lrn)
    owners = {node.name: layer for node, layer in node_layers(graph, model)}
    tensors, read = tensor_names(graph), {value.name for value in model.graph.input}
    fed = {tensors[blob]: arrays[blob.name] for blob in graph.inputs if tensors[blob] in read}
    with temporary_folder() as folder:
        session = _session(model, threads, Path(folder, "profile"))
        try:
            for _ in range(warmup + repeat):
                session.run(None, fed)
            events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        except Exception as error:  # onnxruntime's exceptions have no base class of their own
            raise EngineError(f"ONNX Runtime cannot profile the network: {flat(error)}") from None
    return _collect(graph, events, owners, warmup)


def node_layers(graph: Graph, model: Any) -> list[tuple[Any, Layer]]:
    """Return each node of the model that `to_onnx` makes of the graph, and its layer.

    A node that makes a blob belongs to the blob's layer; other nodes belong to the layer of their reader.
    """
    from deepmerge.formats.onnx import tensor_names

    makers: dict[str, Layer] = {tensor: blob.producer for blob, tensor in tensor_names(graph).items()}
    pairs: list[tuple[Any, Layer]] = []
    for node in reversed(model.graph.node):
        layer = next((makers[name] for name in node.output if name in makers), None)
        if layer is not None:  # a value that no node reads belongs to no layer, and is not computed
            pairs.append((node, layer))
            for name in node.input:
                makers.setdefault(name, layer)
    return pairs[::-1]


def _collect(graph: Graph, events: list[dict], owners: Mapping[str, Layer], warmup: int):
    """Sort the profile's events by run and layer. Nodes without a layer come last, under their own names."""
    runs = sorted((e for e in events if e.get("name") == "model_run"), key=lambda e: e["ts"])[warmup:]
    times: dict[tuple[str, str], list[float]] = {
        (layer.name, layer.type): [0.0] * len(runs) for layer in graph.layers if layer.type != "Input"
    }
    for event in events:
        if event.get("cat") != "Node" or not event["name"].endswith(_KERNEL):
            continue
        name = event["name"][: -len(_KERNEL)]
        layer = owners.get(name)
        key = (layer.name, layer.type) if layer else (name, event["args"].get("op_name", ""))
        for turn, run in enumerate(runs):
            if run["ts"] <= event["ts"] < run["ts"] + run["dur"]:
                times.setdefault(key, [0.0] * len(runs))[turn] += event["dur"] * _MICRO
                break
    return [(*key, seconds) for key, seconds in times.items()], [run["dur"] * _MICRO for run in runs]
