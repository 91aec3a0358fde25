"""How the tests of the torch engine judge: one network in real Caffe and in PyTorch, forward, and backward from random diffs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed; pip install 'deepmerge-caffe[torch]'")

from deepmerge.engines.pytorch import TorchNet  # noqa: E402
from deepmerge.formats.read.network import read_network  # noqa: E402
from deepmerge.formats.write import write_caffemodel  # noqa: E402
from deepmerge.graph.graph import Graph  # noqa: E402
from deepmerge.graph.shapes import expected_weights, infer_shapes  # noqa: E402

TOLERANCE = 1e-5  # of the range of what Caffe has
TIMES = 2  # gradients: a sum over a batch, with its own order of adding
Arrays = dict[str, np.ndarray]


def network(folder: Path, text: str, seed: int = 5, force: bool = True) -> Graph:
    """The network of a prototxt, written to the folder with weights drawn at random. force: gradients for the inputs, too."""
    prototxt, caffemodel = folder / "net.prototxt", folder / "net.caffemodel"
    prototxt.write_text(("force_backward: true\n" if force else "") + text)
    graph = read_network(prototxt)
    shapes, rng = infer_shapes(graph), np.random.default_rng(seed)
    shared: Arrays = {}
    for layer in graph.layers:
        layer.weights = []
        for index, shape in enumerate(expected_weights(layer, [shapes[blob] for blob in layer.bottoms]) or ()):
            array = rng.normal(0, 1, shape).astype(np.float32)
            name = layer.blob_name(index)
            layer.weights.append(shared.setdefault(name, array) if name else array)
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
    lines = [f'bottom: "{b}"' for b in bottoms.split()]
    lines += [f'top: "{t}"' for t in (name if tops is None else tops).split()]
    return f'layer {{ name: "{name}" type: "{kind}" {" ".join(lines)} {params} }}\n'


def images(*shapes: tuple[int, ...], low: float = -3.0, high: float = 3.0, seed: int = 11) -> Arrays:
    rng = np.random.default_rng(seed)
    return {
        name: rng.uniform(low, high, shape).astype(np.float32)
        for name, shape in zip(_names(len(shapes)), shapes, strict=True)
    }


def judge(
    worker,
    folder: Path,
    text: str,
    *feeds: Arrays,
    phase: str = "TEST",
    backward: bool = True,
    unlearned: Iterable[str] = (),
    diffs: Arrays | None = None,
    tolerance: float = TOLERANCE,
    force: bool = True,
) -> TorchNet:
    """Compare all outputs, and the gradients of all inputs and parameters, with real Caffe's, for each of the feeds in turn.

    backward: False where Caffe has none. unlearned: inputs without gradients (labels). diffs: what gradients start from;
    None: random numbers, but what the loss weights say for losses. force: see network.
    """
    graph = network(folder, text, force=force)
    net = TorchNet(graph, phase)
    with worker.load(folder / "net.prototxt", folder / "net.caffemodel", phase) as caffe:
        for fed in feeds:
            expected = caffe.forward(fed)
            tensors = {name: torch.from_numpy(array.copy()).requires_grad_(backward) for name, array in fed.items()}
            found = net(tensors)
            assert set(found) == set(expected)
            for name, array in expected.items():
                compare(name, found[name].detach().numpy(), array, tolerance)
            if backward:
                gradients(net, caffe, tensors, found, set(unlearned), diffs, tolerance)
    return net


def gradients(net: TorchNet, caffe, fed, found, unlearned: set[str], diffs: Arrays | None, tolerance: float) -> None:
    """Compare the gradients of one forward that both have done."""
    rng = np.random.default_rng(23)
    start = {
        name: rng.normal(0, 1, value.shape).astype(np.float32)
        for name, value in found.items()
        if name not in net.losses
    }
    blobs, params = caffe.backward(start if diffs is None else diffs, [name for name in fed if name not in unlearned])
    total = net.loss(found) if net.losses else torch.zeros(())
    for name, diff in (start if diffs is None else diffs).items():
        if found[name].requires_grad:
            total = total + (found[name] * torch.from_numpy(diff)).sum()
    net.zero_grad()
    if not total.requires_grad:
        return
    total.backward()
    for name, expected in blobs.items():
        compare(f"gradient of {name}", _gradient(fed[name]), expected, TIMES * tolerance)
    for name, arrays in params.items():
        for index, (blob, expected) in enumerate(zip(net.blobs_of(name), arrays, strict=True)):
            if blob.requires_grad:
                compare(f"gradient of {name}, blob {index}", _gradient(blob), expected, TIMES * tolerance)


def compare(name: str, found: np.ndarray, expected: np.ndarray, tolerance: float = TOLERANCE) -> None:
    """NaN and −FLT_MAX must be where Caffe has them, all else within the tolerance, relative to the range."""
    assert found.dtype == np.float32 and found.shape == expected.shape, (
        f"{name}: {found.shape}, expected {expected.shape}"
    )
    odd = ~np.isfinite(expected) | (np.abs(expected) > 1e37)
    np.testing.assert_array_equal(found[odd], expected[odd], err_msg=name)
    found, expected = found[~odd].astype(np.float64), expected[~odd].astype(np.float64)
    if expected.size:
        span = expected.max() - expected.min() if expected.size > 1 else abs(expected.item())
        difference = np.abs(found - expected).max() / max(span, 1e-6)
        assert difference <= tolerance, f"{name}: differs by {difference:.3g} of its range {span:.4g}"


def _gradient(tensor) -> np.ndarray:
    return np.zeros(tuple(tensor.shape), np.float32) if tensor.grad is None else tensor.grad.numpy()


def _names(count: int) -> list[str]:
    return ["data", *(f"data{i}" for i in range(1, count))]


def _dims(shape: tuple[int, ...]) -> str:
    return " ".join(f"dim: {size}" for size in shape)
