"""How the ONNX tests judge: one network in real Caffe and in ONNX Runtime, output by output."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from deepmerge.engines.float64 import Float64Session
from deepmerge.engines.ort import OrtEngine
from deepmerge.formats.onnx import to_onnx
from deepmerge.formats.read.network import read_network
from deepmerge.formats.write import write_caffemodel
from deepmerge.graph.graph import Graph
from deepmerge.graph.shapes import expected_weights, infer_shapes

TOLERANCE = 1e-5  # of the output's range


def network(folder: Path, text: str, seed: int = 5) -> Graph:
    """The network of a prototxt, written to the folder with weights drawn at random."""
    prototxt, caffemodel = folder / "net.prototxt", folder / "net.caffemodel"
    prototxt.write_text(text)
    graph = read_network(prototxt)
    shapes, rng = infer_shapes(graph), np.random.default_rng(seed)
    for layer in graph.layers:
        if layer.type == "Input":
            continue
        expected = expected_weights(layer, [shapes[blob] for blob in layer.bottoms])
        layer.weights = [rng.normal(0, 1, shape).astype(np.float32) for shape in expected]
        if layer.type == "BatchNorm":
            layer.weights[1] = np.abs(layer.weights[1]) + np.float32(0.25)
            layer.weights[2] = np.float32([2.5])
    write_caffemodel(graph, caffemodel)
    return graph


def inputs(*shapes: tuple[int, ...]) -> str:
    """An Input layer for each shape: data, data1, data2, …"""
    return "".join(
        f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ {_dims(shape)} }} }} }}\n'
        for name, shape in zip(_names(len(shapes)), shapes, strict=True)
    )


def layer(name: str, kind: str, params: str = "", bottoms: str = "data", tops: str | None = None) -> str:
    """A layer's text; its top is called like it."""
    lines = [f'bottom: "{b}"' for b in bottoms.split()] + [
        f'top: "{t}"' for t in (name if tops is None else tops).split()
    ]
    return f'layer {{ name: "{name}" type: "{kind}" {" ".join(lines)} {params} }}\n'


def images(*shapes: tuple[int, ...], low: float = -3.0, high: float = 3.0, seed: int = 11) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        name: rng.uniform(low, high, shape).astype(np.float32)
        for name, shape in zip(_names(len(shapes)), shapes, strict=True)
    }


def judge(worker, folder: Path, text: str, *feeds: dict[str, np.ndarray], exact: bool = False, seed: int = 5) -> Graph:
    """Check the ONNX model, and compare all outputs with real Caffe's, in float32 and 64, for each of the feeds in turn.

    exact: to the bit. Otherwise within TOLERANCE; NaN and −FLT_MAX must be where Caffe has them.
    """
    graph = network(folder, text, seed)
    onnx.checker.check_model(to_onnx(graph), full_check=True)
    caffe = worker.load(folder / "net.prototxt", folder / "net.caffemodel")
    with OrtEngine().load(graph) as session:
        for fed in feeds:
            found, expected = session.forward(fed), caffe.forward(fed)
            assert set(found) == set(expected)
            for name, array in expected.items():
                compare(name, found[name], array, 0.0 if exact else TOLERANCE)
            _judge_float64(graph, fed, expected)
    caffe.close()
    return graph


def _judge_float64(graph: Graph, fed: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    if any(layer.type == "Pooling" and len(layer.tops) > 1 for layer in graph.layers):
        return  # float64 does not have the mask
    wide = Float64Session(graph, {name: len(array) for name, array in fed.items()}, list(expected)).forward(fed)
    for name, array in expected.items():
        assert wide[name].dtype == np.float64
        # LRN in float32 keeps a running sum, which takes it 5e-5 from the exact value
        compare(name, wide[name].astype(np.float32), array, 10 * TOLERANCE)


def compare(name: str, found: np.ndarray, expected: np.ndarray, tolerance: float = TOLERANCE) -> float:
    """The largest difference relative to the range of the expected values; asserts that it is within the tolerance."""
    assert found.dtype == np.float32 and found.shape == expected.shape, (
        f"{name}: {found.shape}, expected {expected.shape}"
    )
    odd = ~np.isfinite(expected) | (np.abs(expected) > 1e37)
    np.testing.assert_array_equal(found[odd], expected[odd], err_msg=name)
    found, expected = found[~odd].astype(np.float64), expected[~odd].astype(np.float64)
    if not expected.size:
        return 0.0
    span = expected.max() - expected.min() if expected.size > 1 else abs(expected.item())
    difference = np.abs(found - expected).max() / max(span, 1e-6)
    assert difference <= tolerance, f"{name}: differs by {difference:.3g} of its range {span:.4g}"
    return difference


def _names(count: int) -> list[str]:
    return ["data", *(f"data{i}" for i in range(1, count))]


def _dims(shape: tuple[int, ...]) -> str:
    return " ".join(f"dim: {size}" for size in shape)
