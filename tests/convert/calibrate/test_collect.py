"""Moments of a graph's layers, against what real Caffe feeds them."""

from __future__ import annotations

import numpy as np
import pytest

from deepmerge.convert.calibrate import collect as module
from deepmerge.convert.calibrate.collect import Sums, collect, places
from deepmerge.engines import engine
from deepmerge.formats.write import write_pair
from tests.helpers import conv, inputs, layer, network, relu

NET = (
    inputs((1, 3, 9, 8))
    + conv("conv1", "data", 6, "kernel_h: 3 kernel_w: 2 pad_h: 1")
    + relu("conv1")
    + conv("a", "conv1", 8, "kernel_size: 3 pad: 1 group: 2 stride: 2")
    + conv("b", "conv1", 5)
    + conv("c", "conv1", 7)
    + layer("ip", "InnerProduct", "b", "num_output: 4")
)
NAMES = ["data", "conv1", "a", "b", "c", "ip"]


def images(count=20, shape=(3, 9, 8)):
    return np.random.default_rng(3).normal(1, 2, (count, *shape)).astype(np.float32)


def batches(array, size=8):
    return (array[start : start + size] for start in range(0, len(array), size))


@pytest.fixture
def graph(tmp_path):
    return network(tmp_path, NET)


def test_mean_and_covariance_of_what_caffe_feeds_the_layers(graph, real_caffe, tmp_path, monkeypatch):
    """All places being looked at, and zeros for what is padded."""
    monkeypatch.setattr(module, "PLACES", 1000)
    found, separable = collect(graph, NAMES, batches(images()), engine())
    assert list(found) == ["conv1", "a", "b", "c", "ip"] and separable == []
    files = tmp_path / "a.prototxt", tmp_path / "a.caffemodel"
    write_pair(graph, *files)
    with real_caffe.start() as worker, worker.load(*files) as session:
        blobs = session.forward({"data": images()}, ["conv1", "b"])
    ones = np.moveaxis(blobs["conv1"], 1, 3).reshape(-1, 6)
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(blobs["conv1"], ((0, 0), (0, 0), (1, 1), (1, 1))), (3, 3), axis=(2, 3)
    )
    windows = windows[:, :, ::2, ::2].transpose(0, 2, 3, 1, 4, 5).reshape(-1, 2, 27)
    outputs = blobs["b"].reshape(20, -1) @ graph.layer("ip").weights[0].T
    for name, group, wanted in (
        ("b", 0, ones),
        ("c", 0, ones),
        ("a", 0, windows[:, 0]),
        ("a", 1, windows[:, 1]),
        ("ip", 0, outputs),
    ):
        moments = found[name]
        assert moments.samples == len(wanted) and moments.fits(
            graph.layer(name).weights[0].shape, moments.mean.shape[0]
        )
        np.testing.assert_allclose(moments.mean[group], wanted.mean(axis=0), atol=1e-4)
        covariance = np.cov(wanted, rowvar=False, bias=True)
        np.testing.assert_allclose(moments.covariance[group], covariance, atol=1e-4 * np.abs(covariance).max())
    assert found["b"] is found["c"]


def test_the_same_numbers_in_batches_of_any_size(graph):
    one, _ = collect(graph, NAMES, batches(images()), engine())
    other, _ = collect(graph, NAMES, batches(images(), 3), engine())
    for name in one:
        np.testing.assert_allclose(
            one[name].covariance, other[name].covariance, atol=1e-4 * np.abs(one[name].covariance).max()
        )


@pytest.mark.parametrize("bounds", [{"MOST_VALUES": 20}, {"MOST_BYTES": 8 * (2 * 27**2 - 1)}])
def test_what_is_too_large_is_separable_and_said_so(graph, monkeypatch, bounds):
    for name, value in bounds.items():
        monkeypatch.setattr(module, name, value)
    whole = collect(graph, ["b", "ip"], batches(images()), engine())[0]
    found, separable = collect(graph, NAMES, batches(images()), engine())
    assert separable == ["a"] and found["a"].kind == "separable" and found["a"].covariance.shape == (2, 3, 3)
    assert found["a"].fits(graph.layer("a").weights[0].shape, 2)
    assert whole["ip"].covariance.tobytes() == found["ip"].covariance.tobytes()


def test_a_layer_whose_covariances_alone_are_too_large_has_no_moments(tmp_path, monkeypatch):
    """Such as a matrix of very many outputs: nothing that is smaller stands for it."""
    text = inputs((1, 3, 9, 8)) + conv("conv", "data", 5, "kernel_size: 3")
    graph = network(tmp_path, text + layer("ip", "InnerProduct", "conv", "num_output: 40"))
    monkeypatch.setattr(module, "MOST_BYTES", 8 * 40**2 - 1)
    found, separable = collect(graph, ["conv", "ip"], batches(images()), engine())
    assert list(found) == ["conv"] and found["conv"].kind == "patches" and separable == []


@pytest.mark.parametrize("count", [8, 20])
def test_a_layer_that_reads_a_part_of_the_batch_has_no_moments(tmp_path, count):
    text = inputs((8, 3, 9, 8)) + layer("halves", "Slice", "data", "axis: 0", tops="one two")
    text += conv("a", "one", 6, "kernel_size: 3") + layer("b", "InnerProduct", "two", "num_output: 4")
    graph = network(tmp_path, text + conv("c", "data", 5))
    found, _ = collect(graph, ["a", "b", "c"], batches(images(count)), engine())
    assert list(found) == ["c"] and found["c"].samples == count * 32


def test_a_network_that_holds_at_one_batch_only(tmp_path):
    text = (
        inputs((3, 2, 4, 6))
        + layer("flat", "Reshape", "data", "shape { dim: 3 dim: 2 dim: 24 dim: 1 }")
        + conv("conv", "flat", 5, "kernel_h: 3 kernel_w: 1")
    )
    graph, array = network(tmp_path, text), images(7, (2, 4, 6))
    found, _ = collect(graph, ["conv"], batches(array), engine())
    assert found["conv"].samples == 7 * 22
    windows = (
        np.lib.stride_tricks.sliding_window_view(array.reshape(7, 2, 24), 3, axis=2)
        .transpose(0, 2, 1, 3)
        .reshape(-1, 6)
    )
    np.testing.assert_allclose(found["conv"].mean[0], windows.mean(axis=0), atol=1e-5)


def test_the_graph_stays_as_it_was_and_nothing_is_run_for_nothing(graph):
    names = [blob.name for blob in graph.blobs]
    told = []
    collect(graph, ["conv1"], batches(images()), engine(), told.append)
    assert [blob.name for blob in graph.blobs] == names and told == [8, 16, 20]
    assert collect(graph, ["conv1/relu", "no such"], iter([]), engine()) == ({}, [])


def test_places():
    assert places(0, (2, 3), 6).tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]
    drawn = places(7, (30, 4), 50)
    assert drawn.shape == (50, 2) and drawn.min() == 0 and drawn[:, 0].max() > 20 and drawn[:, 1].max() == 3
    assert places(7, (30, 4), 50).tolist() == drawn.tolist() != places(8, (30, 4), 50).tolist()


def rows(count=700, group=2, values=12):
    rng = np.random.default_rng(4)
    mix = rng.normal(0, 1, (group, values, values))
    return (rng.normal(0, 1, (group, count, values)) @ mix + 50).astype(np.float32)


def added(kind, x, pieces, taps=1):
    sums = Sums(kind, taps)
    for piece in np.array_split(x, pieces, axis=1):
        sums.add(piece)
    return sums.moments()


@pytest.mark.parametrize("pieces", [1, 7])
def test_mean_and_covariance(pieces):
    x = rows()
    made = added("patches", x, pieces)
    assert made.samples == 700 and made.kind == "patches"
    np.testing.assert_allclose(made.mean, x.mean(axis=1, dtype=np.float64), rtol=1e-6)
    for g in range(2):
        wanted = np.cov(x[g].astype(np.float64), rowvar=False, bias=True)
        np.testing.assert_allclose(made.covariance[g], wanted, atol=1e-5 * np.abs(wanted).max())


def test_separable_ones_are_the_covariance_summed_over_taps_and_over_channels():
    x = rows()
    whole, made = added("patches", x, 3), added("separable", x, 3, taps=4)
    blocks = whole.covariance.reshape(2, 3, 4, 3, 4)
    np.testing.assert_allclose(made.mean, whole.mean)
    np.testing.assert_allclose(made.covariance, np.einsum("gckdk->gcd", blocks), rtol=1e-4)
    np.testing.assert_allclose(made.taps, np.einsum("gckcl->gkl", blocks), rtol=1e-4)
    assert made.fits((10, 3, 2, 2), 2) and not made.fits((10, 3, 2, 3), 2) and whole.fits((10, 3, 2, 2), 2)
