"""Small networks for tests: their text, their weights (random, seeded), their inputs, and the distance between outputs."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from deepmerge.formats.read import read_network
from deepmerge.graph.graph import Graph
from deepmerge.graph.shapes import expected_weights, infer_shapes
from deepmerge.plan import run_recipe
from deepmerge.plan.recipe import Recipe


def inputs(*shapes: tuple[int, ...]) -> str:
    """One Input layer with a top for each shape: data, data1, data2 …"""
    tops = " ".join(f'top: "{name}"' for name in _names(len(shapes)))
    dims = " ".join("shape { " + " ".join(f"dim: {n}" for n in shape) + " }" for shape in shapes)
    return f'name: "net"\nlayer {{ name: "input" type: "Input" {tops} input_param {{ {dims} }} }}\n'


def layer(name: str, kind: str, bottoms: str, params: str = "", tops: str | None = None, param: str = "") -> str:
    """A layer's text. params: the text of its `*_param` message; param: ParamSpecs. Its top has its name."""
    field = f"{_FIELD.get(kind, kind.lower())}_param {{ {params} }}" if params else ""
    blobs = [f'bottom: "{b}"' for b in bottoms.split()] + [f'top: "{t}"' for t in (tops or name).split()]
    return f'layer {{ name: "{name}" type: "{kind}" {" ".join(blobs)} {param} {field} }}\n'


_FIELD = {
    "Convolution": "convolution",
    "Deconvolution": "convolution",
    "InnerProduct": "inner_product",
    "BatchNorm": "batch_norm",
}


def conv(name: str, bottom: str, num_output: int, params: str = "kernel_size: 1", top: str | None = None) -> str:
    return layer(name, "Convolution", bottom, f"num_output: {num_output} {params}", top)


def relu(bottom: str, name: str | None = None, params: str = "") -> str:
    """A ReLU in place."""
    return layer(name or f"{bottom}/relu", "ReLU", bottom, params, bottom)


_KERNELS = [(2, 2), (3, 3), (5, 5), (1, 3), (4, 2)]
_STRIDES = [(1, 1), (2, 2), (3, 3), (2, 3), (5, 1)]
_PADS = [(0, 0), (1, 1), (2, 2), (0, 1), (2, 0)]
Window = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]  # kernel, stride, pad; each of height and width


def pooling_windows(size: tuple[int, int]) -> list[Window]:
    """Every kernel, stride and pad that Caffe takes: pad < kernel, and a kernel that fits."""
    return [
        (kernel, stride, pad)
        for kernel, stride, pad in itertools.product(_KERNELS, _STRIDES, _PADS)
        if all(n + 2 * p >= k > p for n, k, p in zip(size, kernel, pad, strict=True))
    ]


def poolings(
    size: tuple[int, int], pool: str, rounding: str = "", mask: bool = False, windows: list[Window] | None = None
) -> str:
    """A Pooling for each window (None for all that Caffe takes) of one input. mask: whether they have a second top."""
    text = inputs((2, 3, *size))
    for number, window in enumerate(pooling_windows(size) if windows is None else windows):
        (kernel_h, kernel_w), (stride_h, stride_w), (pad_h, pad_w) = window
        params = f"pool: {pool} kernel_h: {kernel_h} kernel_w: {kernel_w} stride_h: {stride_h} stride_w: {stride_w}"
        params += f" pad_h: {pad_h} pad_w: {pad_w} {rounding}"
        text += layer(f"top{number}", "Pooling", "data", params, f"top{number} mask{number}" if mask else None)
    return text


def poolings_after_the_image() -> str:
    """Poolings of an input (1, 2, 4, 5) whose last window starts after it.

    Unpadded, Caffe keeps such windows: −FLT_MAX, or a division by nothing.
    """
    text = inputs((1, 2, 4, 5))
    for pool, stride in itertools.product(("MAX", "AVE"), (2, 3, 4)):
        text += layer(f"{pool}{stride}", "Pooling", "data", f"pool: {pool} kernel_size: 1 stride: {stride}")
    return text


def network(folder: Path, text: str, seed: int | None = 5) -> Graph:
    """The network of a prototxt, with random weights (none where the seed is None)."""
    path = Path(folder, "net.prototxt")
    path.write_text(text)
    graph = read_network(path)
    if seed is not None:
        fill(graph, seed)
    return graph


def shapes(graph: Graph) -> dict[str, tuple[int, ...] | None]:
    """The shape of each blob by its name."""
    return {blob.name: shape for blob, shape in infer_shapes(graph).items()}


def fill(graph: Graph, seed: int) -> None:
    """Weights like a trained network's: kernels scaled by fan-in, BatchNorm's statistics as sums."""
    shapes, rng = infer_shapes(graph), np.random.default_rng(seed)
    shared: dict[str, np.ndarray] = {}
    for one in graph.layers:
        arrays = []
        for index, shape in enumerate(expected_weights(one, [shapes[b] for b in one.bottoms]) or ()):
            array = _blob(one.type, index, shape, rng)
            name = one.blob_name(index)
            arrays.append(shared.setdefault(name, array) if name else array)
        one.weights = arrays


def _blob(kind: str, index: int, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    if kind == "BatchNorm":  # Caffe stores sums, and the factor to divide by
        made = (rng.normal(0, 1, shape) * 999.98, rng.uniform(0.05, 3, shape) * 999.98, np.full(shape, 999.98))[index]
    elif kind == "Scale":
        made = rng.normal(0.3, 1, shape)  # some are negative
    elif kind == "PReLU":
        made = rng.uniform(0.05, 0.5, shape)
    else:
        fan_in = np.prod(shape[1:]) if index == 0 else 1
        made = rng.normal(0, 1, shape) / np.sqrt(fan_in)
    return np.asarray(made, np.float32).reshape(shape)


def feeds(graph: Graph, seed: int = 9) -> dict[str, np.ndarray]:
    """Values for every input, positive and negative."""
    rng, shapes = np.random.default_rng(seed), infer_shapes(graph)
    return {blob.name: rng.uniform(-2, 3, shapes[blob]).astype(np.float32) for blob in graph.inputs}


def apart(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> float:
    """The greatest |difference| of two sets of outputs, as a share of each output's range in `a`."""
    assert a.keys() == b.keys()
    worst = 0.0
    for name, wanted in a.items():
        assert b[name].shape == wanted.shape and np.isfinite(wanted).all() and np.isfinite(b[name]).all()
        spread = float(wanted.max() - wanted.min())
        assert spread > 0, f"output {name!r} is constant, which would show nothing"
        worst = max(worst, float(np.abs(wanted.astype(np.float64) - b[name]).max()) / spread)
    return worst


def structure(graph: Graph) -> list:
    """Everything in a graph but its weights, layer by layer."""
    return [
        (x.name, x.type, x.params, [b.name for b in x.bottoms], [t.name for t in x.tops], len(x.param_specs))
        for x in graph.layers
    ]


def _names(count: int) -> list[str]:
    return ["data", *(f"data{i}" for i in range(1, count))]


def calls(function: Callable[[], object]) -> int:
    """How many functions `function` calls: a measure of its work that does not depend on the machine's load."""
    made = 0

    def count(frame: object, event: str, arg: object) -> None:
        nonlocal made
        made += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        function()
    finally:
        sys.setprofile(before)
    return made


def carried_out(graph: Graph, recipe: Recipe) -> tuple[Graph, list[dict]]:
    """A copy of the graph after the recipe's steps, and the entries that report.json would have."""
    merged, entries = graph.copy(), []
    for index, result in run_recipe(merged, recipe):
        passes = [change.pass_name for change in result.changes]
        entry = {"name": result.step.name, "exact": result.step.exact, "merged": result.merged, "into": result.into}
        entries.append({"index": index, "passes": passes, **entry})
    return merged, entries
