"""Channels between linear layers: the function stays, the ranges become equal, and int8 loses less."""

from __future__ import annotations

import numpy as np
import pytest

from deepmerge.convert.calibrate import CalibrationImages
from deepmerge.convert.equalize import equalized
from deepmerge.convert.int8 import write_int8
from deepmerge.engines.ort import OrtEngine
from deepmerge.out.write import Settings
from tests.helpers import conv, inputs, layer, network, relu

PAIR = inputs((1, 3, 8, 8)) + conv("a", "data", 6, "kernel_size: 3") + conv("b", "a", 4)
FC = layer("fc1", "InnerProduct", "b", "num_output: 5") + layer("fc2", "InnerProduct", "fc1", "num_output: 3")
TEXT = PAIR + relu("b") + FC


def photos(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, (8, 3, 8, 8)).astype(np.float32)


def values(graph, *blobs: str) -> list[np.ndarray]:
    with OrtEngine().load(graph) as session:
        found = session.forward({"data": photos()}, list(blobs))
    return [found[blob].astype(np.float64) for blob in blobs]


def uneven(graph):
    """The channels of `a` differ by a million, and what reads them makes up for it."""
    scale = np.float32(10.0) ** np.arange(-3, 3).astype(np.float32)
    first, second = graph.layer("a"), graph.layer("b")
    first.weights = [blob * scale.reshape(-1, *[1] * (blob.ndim - 1)) for blob in first.weights]
    second.weights = [second.weights[0] / scale[None, :, None, None], *second.weights[1:]]
    return graph


def test_the_function_stays_and_the_ranges_become_equal(tmp_path):
    graph = uneven(network(tmp_path, TEXT))
    made = equalized(graph, iter([photos()]))
    (before, *_), (after, hidden, fc1) = values(graph, "fc2"), values(made, "fc2", "a", "fc1")
    assert np.abs(before - after).max() <= 1e-5 * np.ptp(before)
    assert np.abs(hidden).max((0, 2, 3)) == pytest.approx(np.ones(6), rel=1e-5)
    assert np.abs(fc1).max(0) == pytest.approx(np.ones(5), rel=1e-5)
    assert np.ptp(np.abs(values(graph, "a")[0]).max((0, 2, 3))) > 100, "the network that was given is unchanged"


@pytest.mark.parametrize(
    "text",
    [
        PAIR.replace(conv("b", "a", 4), relu("a") + conv("b", "a", 4)),
        PAIR + conv("c", "a", 4),
        PAIR.replace(conv("b", "a", 4), conv("b", "a", 4, "kernel_size: 1 group: 2")),
        inputs((1, 3, 8, 8)) + conv("a", "data", 6) + layer("fc", "InnerProduct", "a", "num_output: 3"),
    ],
    ids=["an activation between", "two readers", "groups", "another type"],
)
def test_what_does_not_fit_stays(tmp_path, text):
    graph = network(tmp_path, text)
    made = equalized(graph, iter([photos()]))
    for one, other in zip(graph.layers, made.layers, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one.weights, other.weights, strict=True))


def test_a_channel_that_is_always_zero_stays(tmp_path):
    graph = network(tmp_path, PAIR)
    graph.layer("a").weights = [
        blob * (np.arange(6) != 2).reshape(-1, *[1] * (blob.ndim - 1)) for blob in graph.layer("a").weights
    ]
    made = equalized(graph, iter([photos()]))
    assert all(np.isfinite(blob).all() for one in made.layers for blob in one.weights)
    assert np.array_equal(made.layer("b").weights[0][:, 2], graph.layer("b").weights[0][:, 2])


def test_int8_loses_less(tmp_path, monkeypatch):
    graph = uneven(network(tmp_path, TEXT))
    pixels = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), np.uint8)
    np.savez(tmp_path / "photos.npz", images=pixels)
    images = CalibrationImages(f"npz:{tmp_path / 'photos.npz'}", tmp_path / "net.prototxt")
    images.prepare(graph)
    errors = [write_int8(graph, tmp_path / "even.onnx", images, Settings())["outputs"][0]["error"]]
    monkeypatch.setattr("deepmerge.convert.int8.equalized", lambda graph, batches: graph)
    errors.append(write_int8(graph, tmp_path / "uneven.onnx", images, Settings())["outputs"][0]["error"])
    assert 0 < errors[0] < errors[1] / 3


@pytest.mark.parametrize(
    "text",
    [
        layer("a", "InnerProduct", "data", "num_output: 5 axis: 2")
        + layer("b", "InnerProduct", "a", "num_output: 4 axis: 2"),
        layer("a", "InnerProduct", "data", "num_output: 3 axis: 2")
        + layer("b", "InnerProduct", "a", "num_output: 4 axis: 2"),
        layer("twin", "TanH", "data")
        + layer("a", "Convolution", "data twin", "num_output: 6 kernel_size: 3", tops="x y")
        + conv("b", "x", 4)
        + conv("c", "y", 4),
    ],
    ids=["on another axis", "of the same size as the channels", "one layer on two bottoms"],
)
def test_layers_whose_channels_are_elsewhere_stay(tmp_path, text):
    graph = network(tmp_path, inputs((1, 3, 8, 8)) + text)
    outputs = [blob.name for blob in graph.outputs]
    for before, after in zip(values(graph, *outputs), values(equalized(graph, [photos()]), *outputs), strict=True):
        np.testing.assert_allclose(after, before, atol=1e-5 * np.abs(before).max())
