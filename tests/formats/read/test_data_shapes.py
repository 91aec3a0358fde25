"""Sizes that are found: in the files that a data layer names, and by weights that fit one square. Real Caffe is the judge."""

from __future__ import annotations

import numpy as np
import pytest

from deepmerge.errors import ReadError
from deepmerge.formats import schema
from deepmerge.formats.read import read_network
from deepmerge.formats.write import write_caffemodel
from deepmerge.graph.shapes import infer_shapes
from tests.helpers import conv, fill, inputs, layer
from tests.real_images import write_lmdb

NET = conv("conv", "data", 2, "kernel_size: 3") + layer("fc", "InnerProduct", "conv", "num_output: 5")
LOSS = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }\n'


def data(kind: str, fields: str, tops: str = "data label") -> str:
    return f'layer {{ name: "d" type: "{kind}" {" ".join(f"top: {t!r}" for t in tops.split())} {fields} }}\n'


@pytest.fixture
def read(tmp_path, monkeypatch):
    """Text → the network, read in a folder that is not the current one."""

    def network(text: str, caffemodel=None):
        (tmp_path / "net").mkdir(exist_ok=True)
        (tmp_path / "net/train_val.prototxt").write_text(text)
        return read_network(tmp_path / "net/train_val.prototxt", caffemodel)

    monkeypatch.chdir(tmp_path)
    return network


def shape(graph, name: str = "data"):
    return next(shape for blob, shape in infer_shapes(graph).items() if blob.name == name)


def lmdb(path, height: int, width: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 40, 40, 3), np.uint8)
    write_lmdb(path, images, np.arange(3), height, width)


def test_an_lmdbs_first_record(read, tmp_path, real_caffe):
    lmdb(tmp_path / "db", 12, 10)
    text = data("Data", 'data_param { source: "db" backend: LMDB batch_size: 2 }')
    graph = read(text + NET + LOSS)
    with real_caffe.load_files(tmp_path / "net/train_val.prototxt") as session:
        assert session.forward({}, ["data"])["data"].shape == (2, 3, 12, 10)
    assert shape(graph) == (1, 3, 12, 10)
    assert graph.warnings == ["layer 'd' (Data) does not say how large its images are; db does: 3×12×10"]


def test_crop_size_wins_and_the_record_knows_the_channels(read, tmp_path):
    (tmp_path / "net").mkdir()
    lmdb(tmp_path / "net/db", 12, 10)
    graph = read(data("Data", 'data_param { source: "db" } transform_param { crop_size: 8 }') + NET + LOSS)
    assert shape(graph) == (1, 3, 8, 8) and graph.warnings == []


def test_coded_pictures(read, tmp_path):
    import lmdb as library
    from PIL import Image

    Image.new("L", (10, 12)).save(tmp_path / "grey.png")
    datum = schema.message_class("Datum")(encoded=True, data=(tmp_path / "grey.png").read_bytes())
    (tmp_path / "net").mkdir()
    with library.open(str(tmp_path / "net/db")) as file, file.begin(write=True) as records:
        records.put(b"0", datum.SerializeToString())
    assert shape(read(data("Data", 'data_param { source: "/gone/db" }') + NET + LOSS)) == (1, 1, 12, 10)


def test_hdf5_files_know_all_tops(read, tmp_path, real_caffe):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"], file["more"], file["label"] = np.zeros((4, 2, 9, 8)), np.zeros((4, 7)), np.zeros(4)
    (tmp_path / "list.txt").write_text("a.h5\n")
    text = data("HDF5Data", 'hdf5_data_param { source: "list.txt" batch_size: 2 }', "data label more")
    both = layer("both", "Concat", "fc more")
    graph = read(text + NET + both + LOSS.replace('"fc"', '"both"'))
    assert shape(graph) == (1, 2, 9, 8) and shape(graph, "more") == (1, 7)
    with real_caffe.load_files(tmp_path / "net/train_val.prototxt") as session:
        found = session.forward({}, ["data", "more"])
    assert [found[name].shape for name in ("data", "more")] == [(2, 2, 9, 8), (2, 7)]


def test_a_mean_image(read, tmp_path):
    blob = schema.message_class("BlobProto")(num=1, channels=3, height=12, width=10, data=[0] * 360)
    (tmp_path / "mean.binaryproto").write_bytes(blob.SerializeToString())
    text = data("Data", 'data_param { source: "gone" } transform_param { mean_file: "mean.binaryproto" }')
    graph = read(text + NET + LOSS)
    assert shape(graph) == (1, 3, 12, 10) and graph.warnings[0].endswith("; mean.binaryproto does: 3×12×10")


@pytest.mark.parametrize("name", ["db/data.mdb", "mean.binaryproto", "list.txt", "a.h5"])
def test_damaged_files_say_nothing(read, tmp_path, name):
    (tmp_path / "db").mkdir()
    (tmp_path / name).write_bytes(b"\x89HDF\r\n\x1a\n" if name == "a.h5" else b"a.h5\n")
    for kind, block in (("Data", "data_param"), ("HDF5Data", "hdf5_data_param")):
        source = "db" if kind == "Data" else "list.txt"
        fields = f'{block} {{ source: "{source}" }} transform_param {{ mean_file: "mean.binaryproto" }}'
        with pytest.raises(ReadError, match=r"give its size: --input data=1,3,H,W$"):
            read(data(kind, fields) + NET + LOSS)


@pytest.mark.parametrize("size", [(1, 3, 9, 9), (1, 1, 28, 28)])
def test_weights_that_fit_one_square(read, tmp_path, size):
    graph = read(inputs(size) + NET)
    fill(graph, 1)
    write_caffemodel(graph, tmp_path / "net.caffemodel")
    found = read(data("Data", "") + NET + LOSS, tmp_path / "net.caffemodel")
    assert shape(found) == size
    times = "×".join(map(str, size[1:]))
    assert found.warnings == [
        f"layer 'd' (Data) does not say how large its images are; {times} is the only square that the weights of 'fc' fit"
    ]


def test_weights_that_fit_two_squares_or_none(read, tmp_path):
    pooled = conv("conv", "data", 2, "kernel_size: 3") + layer("pool", "Pooling", "conv", "kernel_size: 2 stride: 2")
    pooled += layer("fc", "InnerProduct", "pool", "num_output: 5")
    for body, size in ((pooled, (1, 3, 10, 10)), (NET, (1, 3, 9, 8))):
        graph = read(inputs(size) + body)
        fill(graph, 1)
        write_caffemodel(graph, tmp_path / "net.caffemodel")
        with pytest.raises(ReadError, match="does not say how large its images are"):
            read(data("Data", "") + body + LOSS, tmp_path / "net.caffemodel")


def test_a_first_inner_product_alone_tells_grey_from_colour(read, tmp_path):
    fc = layer("fc", "InnerProduct", "data", "num_output: 5")
    for size in ((1, 1, 28, 28), (1, 3, 32, 32)):
        graph = read(inputs(size) + fc)
        fill(graph, 1)
        write_caffemodel(graph, tmp_path / "net.caffemodel")
        assert shape(read(data("Data", "") + fc + LOSS, tmp_path / "net.caffemodel")) == size


def test_a_weight_that_is_no_matrix_fits_no_square(read, tmp_path):
    graph = read(inputs((1, 3, 9, 9)) + NET)
    fill(graph, 1)
    graph.layer("fc").weights[0] = np.float32(1).reshape(())
    write_caffemodel(graph, tmp_path / "net.caffemodel")
    with pytest.raises(ReadError, match="does not say how large its images are"):
        read(data("Data", "") + NET + LOSS, tmp_path / "net.caffemodel")
