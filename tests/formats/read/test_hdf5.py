"""HDF5 snapshots (PITFALLS row 13). Real Caffe writes what is read here."""

from __future__ import annotations

import builtins
import sys
from pathlib import Path

import numpy as np
import pytest

from deepmerge.errors import ReadError, ShapeError
from deepmerge.formats.read import read_network
from deepmerge.formats.read.caffemodel import read_caffemodel
from deepmerge.formats.read.hdf5 import MAX_BLOBS
from deepmerge.formats.write import write_pair
from deepmerge.graph.graph import Graph
from tests.helpers import apart, conv, feeds, inputs, layer, network, relu

h5py = pytest.importorskip("h5py", reason="h5py is not installed; `pip install -e .[h5]` does it")

pytestmark = pytest.mark.pitfall("row", 13)

PLAIN = (
    inputs((2, 3, 9, 7))
    + conv("conv1", "data", 4, "kernel_h: 3 kernel_w: 2 stride: 2")
    + layer("norm", "BatchNorm", "conv1", "eps: 1e-3")
    + layer("scale", "Scale", "norm", "bias_term: true")
    + relu("scale", "relu")
    + layer("fc", "InnerProduct", "scale", "num_output: 5 bias_term: false")
)
_SHARED_FC = 'param { name: "w" } param { name: "%s" } inner_product_param { num_output: 6 }'
# `left` owns both weights, `right` shares the first one, `deep` the last, `whole` both
SHARED = inputs((2, 6)) + "".join(
    f'layer {{ name: "{name}" type: "InnerProduct" bottom: "{bottom}" top: "{name}" {param} }}\n'
    for name, bottom, param in (
        ("left", "data", _SHARED_FC % "b"),
        ("right", "left", 'param { name: "w" } inner_product_param { num_output: 6 }'),
        ("deep", "right", 'param { lr_mult: 2 } param { name: "b" } inner_product_param { num_output: 6 }'),
        ("whole", "deep", _SHARED_FC % "b"),
    )
)


def snapshot(folder, layers: dict[str, dict[str, np.ndarray]], **options):
    path = folder / "net.caffemodel.h5"
    with h5py.File(path, "w", **options) as file:
        file.create_group("data")
        for name, blobs in layers.items():
            group = file["data"].create_group(name)
            for index, values in blobs.items():
                group[index] = values
    return path


def refused(path) -> str:
    with pytest.raises(ReadError) as caught:
        read_caffemodel(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ") and "\n" not in text
    return text.removeprefix(f"{path}: ")


@pytest.fixture(scope="module")
def worker(real_caffe):
    with real_caffe.start() as worker:
        yield worker


@pytest.fixture(scope="module", params=[PLAIN, SHARED], ids=["plain", "shared"])
def saved(request, tmp_path_factory, worker) -> tuple[Graph, Path]:
    """A network, and a folder with net.prototxt and net.caffemodel.h5 as Caffe saves it."""
    folder = tmp_path_factory.mktemp("saved")
    graph = network(folder, request.param)
    write_pair(graph, folder / "net.prototxt", folder / "net.caffemodel")
    with worker.load(folder / "net.prototxt", folder / "net.caffemodel") as session:
        session.save(folder / "net.caffemodel.h5")
    return graph, folder


def test_what_real_caffe_saves(saved):
    graph, folder = saved
    read = read_network(folder / "net.prototxt", folder / "net.caffemodel.h5")
    assert read.warnings == []
    for one in graph.layers:
        found = read.layer(one.name).weights
        assert len(found) == len(one.weights)
        assert all(np.array_equal(a, b) and a.dtype == np.float32 for a, b in zip(found, one.weights, strict=True))


@pytest.mark.parametrize("saved", [SHARED], indirect=True, ids=["shared"])
def test_shared_blobs_are_left_out_and_shared_again(saved):
    folder = saved[1]
    stored = {s.name: [b is not None for b in s.blobs] for s in read_caffemodel(folder / "net.caffemodel.h5")}
    assert stored == {"left": [True, True], "right": [False, True], "deep": [True]}
    graph = read_network(folder / "net.prototxt", folder / "net.caffemodel.h5")
    left, right, deep, whole = (graph.layer(name).weights for name in ("left", "right", "deep", "whole"))
    assert right[0] is left[0] and deep[1] is left[1] and whole[0] is left[0] and whole[1] is left[1]


def test_the_networks_run_alike(saved, worker):
    """Caffe with its own snapshot, and Caffe with the caffemodel that we make of the snapshot."""
    graph, folder = saved
    write_pair(
        read_network(folder / "net.prototxt", folder / "net.caffemodel.h5"),
        folder / "b.prototxt",
        folder / "b.caffemodel",
    )
    values, outputs = feeds(graph), []
    for pair in (("net.prototxt", "net.caffemodel.h5"), ("b.prototxt", "b.caffemodel")):
        with worker.load(*(folder / name for name in pair)) as session:
            outputs.append(session.forward(values))
    assert apart(*outputs) == 0


def test_names_with_slashes_are_groups_in_groups(tmp_path):
    path = snapshot(
        tmp_path,
        {"conv1": {"0": np.ones((2, 1), "f4")}, "conv1/7x7_s2": {"0": np.zeros(3, "f4")}, "a/b/c": {"10": np.ones(1)}},
    )
    stored = {s.name: s.blobs for s in read_caffemodel(path)}
    assert sorted(stored) == ["a/b/c", "conv1", "conv1/7x7_s2"]
    assert stored["conv1"][0].shape == (2, 1) and stored["conv1/7x7_s2"][0].tolist() == [0, 0, 0]
    assert stored["a/b/c"][:10] == [None] * 10 and stored["a/b/c"][10].dtype == np.float32


@pytest.mark.parametrize("dtype", ["<f8", ">f4", "<f2", "<i4"])
def test_values_of_other_types(tmp_path, dtype):
    values = np.arange(6).reshape(2, 3).astype(dtype)
    (stored,) = read_caffemodel(snapshot(tmp_path, {"l": {"0": values}}))
    assert stored.blobs[0].dtype == np.float32 and stored.blobs[0].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_packed_values(tmp_path):
    path = tmp_path / "net.caffemodel.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("data/l/0", data=np.full((100, 100), 3, "f4"), compression="gzip", chunks=(50, 100))
    (stored,) = read_caffemodel(path)
    assert stored.blobs[0].shape == (100, 100) and (stored.blobs[0] == 3).all()


def test_weights_are_views_on_the_file(tmp_path):
    values = np.arange(300_000, dtype="f4").reshape(300, 1000)
    (stored,) = read_caffemodel(snapshot(tmp_path, {"l": {"0": values}}))
    assert (
        np.array_equal(stored.blobs[0], values)
        and not stored.blobs[0].flags.writeable
        and not stored.blobs[0].flags.owndata
    )


@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3), (1,) * 32])
def test_shapes(tmp_path, shape):
    (stored,) = read_caffemodel(snapshot(tmp_path, {"l": {"0": np.ones(shape, "f4")}}))
    assert stored.blobs[0].shape == shape


def test_a_blob_that_nobody_shares(tmp_path):
    graph = network(tmp_path, inputs((1, 3, 4, 4)) + conv("conv", "data", 2))
    path = snapshot(tmp_path, {"conv": {"1": graph.layer("conv").weights[1]}})
    with pytest.raises(ShapeError) as caught:
        read_network(tmp_path / "net.prototxt", path)
    assert "layer 'conv' (Convolution) has no weight blob 0 in the file, and shares none that has" in str(caught.value)


def test_without_h5py(tmp_path, monkeypatch):
    path = snapshot(tmp_path, {"l": {"0": np.ones(1, "f4")}})
    monkeypatch.setitem(sys.modules, "h5py", None)
    assert refused(path) == "is an HDF5 snapshot, which takes h5py to read: `pip install 'deepmerge-caffe[h5]'`"


def test_caffemodels_do_without_h5py(tmp_path, monkeypatch):
    graph = network(tmp_path, PLAIN)
    write_pair(graph, tmp_path / "net.prototxt", tmp_path / "net.caffemodel")
    real = builtins.__import__
    monkeypatch.setattr(
        builtins, "__import__", lambda name, *rest: pytest.fail("h5py") if name == "h5py" else real(name, *rest)
    )
    read_network(tmp_path / "net.prototxt", tmp_path / "net.caffemodel")


def test_other_hdf5_files(tmp_path):
    path = tmp_path / "other.h5"
    other = "is an HDF5 file, but not a snapshot of Caffe's: it has no group `data`; give the .caffemodel.h5 (or .caffemodel) that belongs to the prototxt"
    with h5py.File(path, "w") as file:
        file["model_weights/conv/kernel"] = np.ones(3)
    assert refused(path) == other
    with h5py.File(path, "w") as file:
        file["data"], file["label"] = np.ones((2, 3)), np.ones(2)  # what an HDF5Data layer reads
    assert refused(path) == other
    with h5py.File(path, "w") as file:
        file["iter"], file["history/0"] = 3, np.ones(2)
    assert refused(path).startswith("is a solver's state; give the .caffemodel.h5")
    with h5py.File(path, "w") as file:
        file.create_group("data/conv1")
    assert refused(path) == "holds no weights: its group `data` has no layers"


@pytest.mark.parametrize("name", ["0", "conv/kernel", "conv/-1", "conv/²", f"conv/{MAX_BLOBS}", "conv/99999999999"])
def test_data_sets_that_are_no_blobs(tmp_path, name):
    path = tmp_path / "net.h5"
    with h5py.File(path, "w") as file:
        file[f"data/{name}"] = np.ones(1)
    assert (
        refused(path) == f"is not a snapshot of Caffe's: data/{name} is a data set, where data/LAYER/NUMBER is expected"
    )


def test_links(tmp_path):
    """A group that holds itself ends nowhere, and other files are none of ours."""
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["secret"] = np.ones(3)
    path = snapshot(tmp_path, {"l": {"0": np.ones(2, "f4")}})
    with h5py.File(path, "a") as file:
        file["data/l/again"] = file["data"]
        file["data/m"] = h5py.ExternalLink("other.h5", "/")
        file["data/n"] = h5py.SoftLink("/nowhere")
    assert [s.name for s in read_caffemodel(path)] == ["l"]


def test_claims_cost_nothing(tmp_path):
    path = tmp_path / "net.h5"
    again = "; get the file again"
    with h5py.File(path, "w") as file:
        file.create_dataset("data/l/0", shape=(10**6, 10**6), dtype="f4", chunks=(100, 100))
    assert (
        refused(path)
        == f"layer 'l', blob 0: claims 1000000000000 values, its shape being (1000000, 1000000), but stores 0 bytes{again}"
    )
    with h5py.File(path, "w") as file:
        file.create_dataset("data/l/0", shape=(10**12,), dtype="f4")
    assert "but stores 0 bytes" in refused(path)
    with h5py.File(path, "w") as file:
        file.create_dataset("data/l/0", shape=(5,), dtype="f4", external=[("/dev/zero", 0, 20)])
    assert refused(path) == f"layer 'l', blob 0: has its values in another file, which is not read{again}"
    with h5py.File(path, "w") as file:
        file["data/l/0"] = ["word"]
    assert refused(path) == f"layer 'l', blob 0: holds object, not numbers{again}"


def test_truncated_and_flipped(tmp_path):
    """Whatever h5py says of it becomes one line; what it still reads is no larger than the file."""
    whole = snapshot(tmp_path, {"l": {"0": np.ones((20, 5), "f4"), "1": np.ones(20, "f4")}}).read_bytes()
    path, chance = tmp_path / "cut.h5", np.random.default_rng(1)
    for size in range(8, len(whole), 97):
        path.write_bytes(whole[:size])
        assert "get the file again" in refused(path)
    for _ in range(150):
        changed = bytearray(whole)
        changed[chance.integers(8, len(whole))] ^= 1 << int(chance.integers(8))
        path.write_bytes(changed)
        try:
            layers = read_caffemodel(path)
        except ReadError as error:
            assert "\n" not in str(error)
        else:
            assert sum(b.nbytes for s in layers for b in s.blobs if b is not None) < 10 * len(whole)


def test_weights_packed_too_tightly(tmp_path):
    """A hundred megabytes of zeros in a file of a few kilobytes, as compression makes them."""
    path = tmp_path / "net.caffemodel.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("data/l/0", (30_000_000,), "f4", compression="gzip", chunks=(10_000_000,))
        file["data/l/0"][:] = 0
    assert path.stat().st_size < 200_000
    with pytest.raises(ReadError) as caught:
        read_caffemodel(path)
    assert str(caught.value) == f"{path}: claims 120 MB of weights in a file of 0 MB; save it without compression"
