"""Resize, crop, channel order, mean and scale, as real Caffe does them, and which of them a network asks for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deepmerge.data import ImageWishes, Preprocessing, choose_preprocessing
from deepmerge.data.batches import make_batch
from deepmerge.data.transform import read_transform
from deepmerge.errors import ReadError
from deepmerge.formats import schema
from deepmerge.formats.read import read_network

PIXELS = np.random.default_rng(2).integers(0, 256, (7, 10, 3), dtype=np.uint8)
SHAPE = (1, 3, 8, 6)

DATA = 'layer { name: "images" type: "Data" top: "data" top: "label" include { phase: %s } transform_param { %s } }'
HEAD = """
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 2 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""
DEPLOY = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 6 } } }'


def train_val(transform):
    return DATA % ("TRAIN", "mean_value: 1 crop_size: 8") + DATA % ("TEST", f"{transform} crop_size: 8") + HEAD


def network(tmp_path, text):
    (tmp_path / "net.prototxt").write_text(text)
    return read_network(tmp_path / "net.prototxt")


def chosen_for(graph, shape, folder=Path(), **wishes):
    return choose_preprocessing(replace(read_transform(graph), folder=folder), shape, ImageWishes(**wishes))


def array_of(how, channels=3):
    return make_batch([PIXELS], how, channels)[0]


def test_the_mean_is_subtracted_before_the_scale():
    array = array_of(Preprocessing(mean=(10, 20, 30), scale=0.5))
    assert array.shape == (3, 7, 10) and array.dtype == np.float32 and array.flags.c_contiguous
    for channel, (source, mean) in enumerate(zip((2, 1, 0), (10, 20, 30), strict=True)):  # blue, green, red
        np.testing.assert_allclose(array[channel], (PIXELS[:, :, source].astype(float) - mean) * 0.5)


def test_rgb_and_one_mean_for_all():
    array = array_of(Preprocessing(mean=(5,), channel_order="rgb"))
    np.testing.assert_allclose(array, np.moveaxis(PIXELS.astype(float), 2, 0) - 5)


def test_grey():
    array = array_of(Preprocessing(), channels=1)
    assert array.shape == (1, 7, 10)
    np.testing.assert_allclose(array[0], PIXELS @ np.array([0.299, 0.587, 0.114]), atol=1e-3)


@pytest.mark.parametrize(("crop", "top", "left"), [(7, 0, 1), (4, 1, 3), (5, 1, 2)])
def test_the_crop_is_caffes_centre(crop, top, left):
    """data_transformer.cpp: h_off = (height - crop_size) / 2, in whole numbers."""
    array = array_of(Preprocessing(crop=crop, channel_order="rgb"))
    np.testing.assert_array_equal(array, np.moveaxis(PIXELS[top : top + crop, left : left + crop], 2, 0))


def test_the_crop_comes_behind_the_resize():
    array = array_of(Preprocessing(resize=(20, 14), crop=9))
    whole = array_of(Preprocessing(resize=(20, 14)))
    assert whole.shape == (3, 14, 20)
    np.testing.assert_array_equal(array, whole[:, 2:11, 5:14])


def test_a_picture_smaller_than_the_crop():
    with pytest.raises(ReadError, match="10×7, smaller than --crop 8"):
        array_of(Preprocessing(crop=8))


def test_usual_values_for_a_deploy_net(tmp_path):
    graph = network(tmp_path, DEPLOY)
    assert chosen_for(graph, SHAPE) == (Preprocessing((104, 117, 123), 1.0, (6, 8)), [])
    assert chosen_for(graph, SHAPE, channel_order="rgb")[0].mean == (123, 117, 104)
    assert chosen_for(graph, (1, 1, 8, 6))[0].mean == ()
    assert chosen_for(graph, SHAPE, mean=(0,), scale=2, resize=(6, 8))[0] == Preprocessing((0,), 2, (6, 8))


def test_values_of_the_train_val(tmp_path):
    graph = network(tmp_path, train_val("mean_value: 7 mean_value: 8 mean_value: 9.5 scale: 0.25"))
    chosen, notes = chosen_for(graph, (1, 3, 8, 8))
    assert (chosen.mean, chosen.scale, notes) == ((7, 8, 9.5), 0.25, [])
    chosen, _ = chosen_for(graph, (1, 3, 8, 8), mean=(1, 2, 3), scale=3)
    assert (chosen.mean, chosen.scale) == ((1, 2, 3), 3)


def test_a_mean_file_that_is_missing_is_told_of(tmp_path):
    graph = network(tmp_path, train_val('mean_file: "mean.binaryproto"'))
    chosen, notes = chosen_for(graph, (1, 3, 8, 8))
    assert chosen.mean == (104, 117, 123)
    assert notes == ["layer 'images': mean_file 'mean.binaryproto' is not there; --mean says what to subtract"]
    assert chosen_for(graph, (1, 3, 8, 8), mean=(0,))[1] == []


def test_a_mean_file(tmp_path):
    graph = network(tmp_path, train_val('mean_file: "means/mean.binaryproto" scale: 0.5'))
    mean = write_mean(tmp_path / "mean.binaryproto", (3, 12, 11))
    chosen, notes = chosen_for(graph, (1, 3, 8, 8), folder=tmp_path)
    assert (
        (chosen.mean, chosen.scale, notes) == ((), 0.5, [])
        and chosen.fits((5, 3, 8, 8))
        and not chosen.fits((1, 3, 8, 7))
    )
    values = np.full((2, 3, 8, 8), 10, np.float32)
    np.testing.assert_array_equal(chosen.normalised(values)[1], (10 - mean[:, 2:10, 1:9]) * np.float32(0.5))
    assert chosen_for(graph, (1, 3, 8, 8), mean=(0,), folder=tmp_path)[0].mean_image is None


def test_a_mean_of_the_train_val_that_does_not_fit(tmp_path):
    graph = network(tmp_path, train_val("mean_value: 1 mean_value: 2 mean_value: 3"))
    message = "layer 'images': mean_value has 3 numbers, and the network takes 1 channel; --mean says what to subtract"
    with pytest.raises(ReadError, match=message):
        chosen_for(graph, (1, 1, 8, 8))
    assert chosen_for(graph, (1, 1, 8, 8), mean=(0,))[0].mean == (0,)


def test_a_mean_that_convert_has_guessed(tmp_path):
    """It is in BGR order, as nobody has said which order the network takes. Other numbers are from the user."""
    for mean, rgb in (((104, 117, 123), (123, 117, 104)), ((104, 117, 9), (104, 117, 9))):
        graph = network(tmp_path, train_val(" ".join(f"mean_value: {number}" for number in mean)))
        guess = replace(read_transform(graph), guessed=True)
        wishes = ImageWishes(), ImageWishes(channel_order="rgb")
        assert [choose_preprocessing(guess, (1, 3, 8, 8), wish)[0].mean for wish in wishes] == [mean, rgb]


@pytest.mark.parametrize(
    ("wishes", "expected"),
    [
        ({"resize": (12, 10)}, ((12, 10), 8)),
        ({"crop": 8}, ((11, 9), 8)),
        ({"resize": (8, 8), "crop": 8}, ((8, 8), 8)),
        ({}, ((11, 9), 8)),
    ],
)
def test_the_train_val_gives_what_the_wishes_do_not(tmp_path, wishes, expected):
    """A crop after --resize, a size before --crop, unless the data layer is convert's guess."""
    text = train_val("").replace('"Data"', '"ImageData"')
    size = "image_data_param { new_width: 11 new_height: 9 } include { phase: TEST }"
    graph = network(tmp_path, text.replace("include { phase: TEST }", size))
    how, _ = chosen_for(graph, (1, 3, 8, 8), **wishes)
    assert (how.resize, how.crop) == expected
    if "crop" in wishes:
        guess = replace(read_transform(graph), guessed=True)
        how, _ = choose_preprocessing(guess, (1, 3, 8, 8), ImageWishes(**wishes))
        assert (how.resize, how.crop) == (wishes.get("resize"), 8)


def test_a_size_of_the_train_val_that_is_too_small_for_the_crop(tmp_path):
    text = train_val("").replace('"Data"', '"ImageData"').replace("crop_size: 8", "crop_size: 6")
    graph = network(
        tmp_path, text.replace("transform_param", "image_data_param { new_width: 7 new_height: 7 } transform_param")
    )
    assert chosen_for(graph, (1, 3, 8, 8), crop=8)[0].resize is None


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        ({"mean": (1, 2)}, "--mean has 2 numbers; give one for each of the 3 channels"),
        ({"resize": (8, 6)}, r"--resize 8,6 makes images of 8×6; the network takes 6×8 \(width×height\)"),
        ({"crop": 6}, "--crop 6 makes images of 6×6; the network takes 6×8"),
    ],
)
def test_wishes_that_do_not_fit(tmp_path, wishes, message):
    with pytest.raises(ReadError, match=message):
        chosen_for(network(tmp_path, DEPLOY), SHAPE, **wishes)


def test_a_crop_of_more_than_there_is(tmp_path):
    with pytest.raises(ReadError, match="--crop 8 is larger than --resize 9,7"):
        chosen_for(network(tmp_path, DEPLOY), (1, 3, 8, 8), resize=(9, 7), crop=8)
    assert chosen_for(network(tmp_path, DEPLOY), (1, 3, 8, 8), crop=8)[0].resize is None


def write_mean(path, shape) -> np.ndarray:
    """A mean image as Caffe's compute_image_mean writes it; its values, (C, H, W)."""
    values = np.random.default_rng(2).uniform(0, 255, shape).astype(np.float32)
    sizes = dict(zip(("num", "channels", "height", "width"), (1, *shape), strict=True))
    path.write_bytes(schema.message_class("BlobProto")(**sizes, data=values.ravel()).SerializeToString())
    return values


CAFFE_NET = """
layer {{ name: "data" type: "ImageData" top: "data" top: "label"
  transform_param {{ crop_size: 5 {mean} scale: 0.25 }}
  image_data_param {{ source: "{list}" batch_size: 1 {size} }} }}
"""


@pytest.mark.parametrize(("resize", "atol"), [(None, 1e-6), ((14, 9), 0.25 * 1.01), ((6, 5), 0.25 * 1.01)])
def test_it_is_what_caffes_image_data_layer_does(tmp_path, worker, resize, atol):
    """Caffe resizes by OpenCV, which rounds to whole grey levels: one level, times the scale, is the tolerance."""
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    (tmp_path / "list.txt").write_text(f"{tmp_path / 'a.png'} 3\n")
    size = "" if resize is None else f"new_width: {resize[0]} new_height: {resize[1]}"
    (tmp_path / "net.prototxt").write_text(
        CAFFE_NET.format(list=tmp_path / "list.txt", size=size, mean="mean_value: 10.5 mean_value: 20 mean_value: 30")
    )
    with worker.load(tmp_path / "net.prototxt") as session:
        wanted = session.forward({}, ["data"])["data"][0]
    made = array_of(Preprocessing((10.5, 20, 30), 0.25, resize, 5))
    np.testing.assert_allclose(made, wanted, atol=atol)
    assert np.abs(made - wanted).mean() < 0.25 * 0.3


def test_it_subtracts_the_mean_image_as_caffe_does(tmp_path, worker):
    """The picture's centre less the mean's: sizes such that each axis rounds its own way."""
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    (tmp_path / "list.txt").write_text(f"{tmp_path / 'a.png'} 3\n")
    write_mean(tmp_path / "mean.binaryproto", (3, *PIXELS.shape[:2]))
    text = CAFFE_NET.format(list=tmp_path / "list.txt", size="", mean=f'mean_file: "{tmp_path}/mean.binaryproto"')
    (tmp_path / "net.prototxt").write_text(text + 'layer { name: "relu" type: "ReLU" bottom: "data" top: "relu" }')
    with worker.load(tmp_path / "net.prototxt") as session:
        wanted = session.forward({}, ["data"])["data"][0]
    chosen, notes = chosen_for(read_network(tmp_path / "net.prototxt"), (1, 3, 5, 5), crop=5)
    assert notes == []
    np.testing.assert_allclose(array_of(chosen), wanted, atol=1e-5)


def test_a_data_layer_without_a_mean_subtracts_none(tmp_path):
    how, notes = chosen_for(network(tmp_path, train_val("scale: 0.5")), SHAPE)
    assert how.mean == () and how.scale == 0.5 and notes == []
    excluded = DATA.replace("include", "exclude") % ("0", "mean_value: 9 crop_size: 8")  # 0 is TRAIN
    numbered = DATA % ("TRAIN", "mean_value: 5 crop_size: 8") + excluded + HEAD
    assert chosen_for(network(tmp_path, numbered), SHAPE)[0].mean == (9,)
