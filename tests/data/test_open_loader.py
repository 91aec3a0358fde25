"""Which preprocessing a network's images get, and which networks take images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deepmerge.data import ImageWishes, Loading, Preprocessing, choose_preprocessing, network_transform, open_loader
from deepmerge.errors import ReadError
from deepmerge.formats.read import read_network
from deepmerge.formats.write.data_layers import Source
from deepmerge.formats.write.train_data import TrainData
from deepmerge.out.write import Settings
from tests.conversion import Job as ConvertJob
from tests.conversion import convert

PIXELS = np.random.default_rng(3).integers(0, 256, (4, 10, 12, 3), dtype=np.uint8)
DEPLOY = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }'
DATA = """layer { name: "d" type: "ImageData" top: "data" top: "label" include { phase: %s }
  transform_param { %s crop_size: 8 mean_value: 7 scale: 0.5 } image_data_param { source: "x" batch_size: 2 %s } }
"""
HEAD = """
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 2 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""
TRAIN_VAL = DATA % ("TRAIN", "mirror: true", "new_width: 12 new_height: 10") + DATA % ("TEST", "", "") + HEAD


@pytest.fixture
def source(tmp_path):
    np.savez(tmp_path / "a.npz", images=PIXELS, labels=np.arange(4))
    return f"npz:{tmp_path / 'a.npz'}"


def preprocessing_of(graph, path, phase="TEST", size=8):
    return choose_preprocessing(network_transform(graph, path, phase), (1, 3, size, size))


def read(folder: Path, name: str, text: str):
    (folder / name).write_text(text)
    return read_network(folder / name), folder / name


def test_the_data_layer_of_the_phase(tmp_path, source):
    graph, path = read(tmp_path, "train_val.prototxt", TRAIN_VAL)
    loader, notes = open_loader(source, graph, path, 2)
    assert (
        loader.preprocessing == Preprocessing((7,), 0.5, None, 8, enlarge=True)
        and not loader.loading.train
        and notes == []
    )
    (batch, _) = loader.once()
    np.testing.assert_array_equal(
        batch.data, np.moveaxis((PIXELS[:2, 1:9, 2:10, ::-1].astype(np.float32) - 7) / 2, 3, 1)
    )
    loader, _ = open_loader(source, graph, path, 2, loading=Loading(train=True))
    assert loader.preprocessing == Preprocessing((7,), 0.5, (12, 10), 8, mirror=True, enlarge=True)
    assert loader.loading.train


def test_a_picture_smaller_than_the_networks_crop_is_enlarged(tmp_path, source):
    """Caffe would end with a failed check."""
    graph, path = read(tmp_path, "train_val.prototxt", TRAIN_VAL.replace("crop_size: 8", "crop_size: 11"))
    loader, _ = open_loader(source, graph, path, 4)
    (batch,) = loader.once()
    assert batch.data.shape == (4, 3, 11, 11) and loader.skipped == []


def test_flags_win(tmp_path, source):
    graph, path = read(tmp_path, "train_val.prototxt", TRAIN_VAL)
    wishes = ImageWishes((1, 2, 3), 2, (9, 9), 8, "rgb", False)
    assert open_loader(source, graph, path, 2, wishes, Loading(train=True))[0].preprocessing == Preprocessing(
        (1, 2, 3), 2, (9, 9), 8, "rgb"
    )


def test_a_deploy_network_asks_the_train_val_beside_it(tmp_path):
    graph, path = read(tmp_path, "deploy.prototxt", DEPLOY)
    assert preprocessing_of(graph, path)[0] == Preprocessing((104, 117, 123), 1.0, (8, 8))
    (tmp_path / "train_val.prototxt").write_text(TRAIN_VAL)
    assert preprocessing_of(graph, path)[0] == Preprocessing((7,), 0.5, None, 8, enlarge=True)
    assert preprocessing_of(graph, path.with_name("other.prototxt"))[0].mean == (104, 117, 123)


@pytest.mark.parametrize("guessed", [True, False])
def test_in_what_convert_has_written(tmp_path, mini_pair, guessed):
    """Its mean and mirroring count. A crop that it has made up does not: it would cut photos that were meant to be resized."""
    source = None if guessed else Source.parse("lmdb:/somewhere")
    convert(ConvertJob(*mini_pair, tmp_path / "out", settings=Settings(data=TrainData(source, source), steps=False)))
    prototxt = tmp_path / "out/deploy.prototxt"
    made, _ = preprocessing_of(read_network(prototxt), prototxt, "TRAIN", 32)
    geometry = {"resize": (32, 32)} if guessed else {"crop": 32, "enlarge": True}
    assert made == Preprocessing((104, 117, 123), mirror=True, **geometry)


@pytest.fixture
def mini_pair(models):
    return models / "inception_mini/inception_mini.prototxt", models / "inception_mini/inception_mini.caffemodel"


def test_networks_that_take_no_images(tmp_path, source):
    more = DEPLOY.replace('"data"', '"info"')
    for text, message in (
        (DEPLOY + more, r"has 2 \(data, info\)"),
        (DEPLOY.replace("dim: 3", "dim: 4"), r"'data' is \(1, 4, 8, 8\)"),
    ):
        graph, path = read(tmp_path, "net.prototxt", text)
        with pytest.raises(ReadError, match=message):
            open_loader(source, graph, path, 2)


def test_an_input_of_no_known_shape(tmp_path, source):
    graph, path = read(tmp_path, "net.prototxt", 'layer { name: "in" type: "Input" top: "data" }')
    with pytest.raises(ReadError, match="input 'data' has no shape; give it: --input data=1,3,H,W") as caught:
        open_loader(source, graph, path, 2)
    assert caught.value.layer == "in"


def test_what_is_fed_as_it_is(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"] = np.zeros((2, 5))
    graph, path = read(tmp_path, "net.prototxt", DEPLOY.replace("dim: 1 dim: 3 dim: 8 dim: 8", "dim: 1 dim: 5"))
    loader, notes = open_loader(
        f"hdf5:{tmp_path / 'a.h5'}", graph, path, 4, ImageWishes(mean=(3,), channel_order="rgb")
    )
    assert notes == [
        f"hdf5:{tmp_path / 'a.h5'} holds what the network is fed: {flag} does nothing"
        for flag in ("--mean", "--channel-order")
    ]
    assert [batch.data.shape for batch in loader.once()] == [(2, 5)]
