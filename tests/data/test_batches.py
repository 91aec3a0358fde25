"""Whole batches are, bit by bit, the pictures one by one; random crops and mirrors are ones that Caffe makes, too."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from deepmerge.data import Preprocessing, choose_preprocessing
from deepmerge.data.batches import GREY, make_batch
from deepmerge.data.resize import resize
from deepmerge.data.transform import read_transform
from deepmerge.errors import ReadError, SourceError
from deepmerge.formats.read import read_network
from tests.data.test_preprocess import CAFFE_NET, write_mean

RNG = np.random.default_rng(4)
PIXELS = RNG.integers(0, 256, (7, 9, 13, 3), dtype=np.uint8)
SHAPES = ((9, 13, 3), (9, 13, 3), (13, 9, 3), (40, 30, 3), (9, 13, 3))
MIXED = [RNG.integers(0, 256, shape, dtype=np.uint8) for shape in SHAPES]


def one_by_one(pictures, how: Preprocessing) -> np.ndarray:
    """As `resize` and the definition have it."""
    made = []
    for pixels in pictures:
        height, width = how.resized(pixels.shape[:2])
        array = resize(pixels, height, width)
        if how.crop is not None:
            top, left = (height - how.crop) // 2, (width - how.crop) // 2
            array = array[top : top + how.crop, left : left + how.crop]
        planes = np.moveaxis(array if how.channel_order == "rgb" else array[:, :, ::-1], 2, 0)
        made.append((planes - np.array(how.mean or (0,), np.float32)[:, None, None]) * np.float32(how.scale))
    return np.stack(made)


@pytest.mark.parametrize(
    "how",
    [
        Preprocessing(resize=(29, 31)),
        Preprocessing((104, 117.5, 123), 0.017, (5, 6)),
        Preprocessing((3,), resize=(20, 14), crop=9, channel_order="rgb"),
        Preprocessing((1, 2, 3), resize=(224, 230), crop=224),
        Preprocessing(crop=8),
        Preprocessing(crop=11, enlarge=True),
    ],
)
@pytest.mark.parametrize("pictures", [PIXELS, MIXED], ids=["alike", "mixed"])
def test_bit_by_bit_the_same_as_one_by_one(how, pictures):
    made = make_batch(pictures, how, 3)
    assert made.dtype == np.float32 and made.flags.c_contiguous
    np.testing.assert_array_equal(made, one_by_one(pictures, how))
    for start in range(len(pictures)):  # and in batches of any size
        np.testing.assert_array_equal(make_batch(pictures[start : start + 2], how, 3), made[start : start + 2])


def test_grey_networks():
    how = Preprocessing((7,), 0.5, (6, 5))
    wanted = np.stack([(resize(pixels, 5, 6) @ GREY - 7) * 0.5 for pixels in PIXELS])
    np.testing.assert_allclose(make_batch(PIXELS, how, 1)[:, 0], wanted, atol=1e-4)
    np.testing.assert_allclose(
        make_batch(PIXELS[..., :1], how, 1)[:, 0],
        [(resize(p[:, :, :1], 5, 6)[:, :, 0] - 7) * 0.5 for p in PIXELS],
        atol=1e-4,
    )


@pytest.mark.parametrize(("stored", "wanted"), [(1, 3), (4, 3), (4, 1), (2, 1)])
def test_other_channels_are_refused(stored, wanted):
    with pytest.raises(SourceError, match=f"the image has {stored} channels?, and the network takes {wanted}"):
        make_batch([np.zeros((4, 4, stored), np.uint8)], Preprocessing(), wanted)


def test_a_picture_smaller_than_the_crop():
    with pytest.raises(ReadError, match="13×9, smaller than --crop 10"):
        make_batch(PIXELS, Preprocessing(crop=10), 3)


def test_draws_say_where_the_crop_is_and_what_is_mirrored():
    how = Preprocessing(crop=8, channel_order="rgb", mirror=True)
    draws = np.array(
        [
            [0, 0, 0.5],
            [0.999, 0.999, 0.5],
            [0.5, 0.5, 0.49],
            [0, 0.17, 0.9],
            [0, 0, 0],
            [0.49, 0.99, 1 - 1e-9],
            [0, 0, 0.7],
        ]
    )
    corners = [(0, 0), (1, 5), (1, 3), (0, 1), (0, 0), (0, 5), (0, 0)]
    made = make_batch(PIXELS, how, 3, draws)
    for index, (top, left) in enumerate(corners):
        wanted = np.moveaxis(PIXELS[index, top : top + 8, left : left + 8], 2, 0)
        np.testing.assert_array_equal(made[index], wanted[:, :, ::-1] if draws[index, 2] < 0.5 else wanted)
    plain = make_batch(PIXELS, Preprocessing(resize=(13, 9)), 3, draws)
    np.testing.assert_array_equal(plain, make_batch(PIXELS, Preprocessing(), 3))  # nothing random was asked for


def windows(pixels, how: Preprocessing) -> list[np.ndarray]:
    """All that can become of a picture in training."""
    rows, columns = how.room(pixels.shape[:2])
    draws = [
        ((r + 0.5) / (rows + 1), (c + 0.5) / (columns + 1), m)
        for r in range(rows + 1)
        for c in range(columns + 1)
        for m in (0, 1)
    ]
    return [make_batch([pixels], how, 3, np.array([draw]))[0] for draw in draws]


@pytest.mark.parametrize("mean", ["values", "file"])
def test_training_makes_what_caffe_makes(tmp_path, worker, mean):
    """Each of Caffe's random crops and mirrors of a picture is one of ours; the mean image's part lies under the crop."""
    pixels = PIXELS[0]
    Image.fromarray(pixels).save(tmp_path / "a.png")
    (tmp_path / "list.txt").write_text(f"{tmp_path / 'a.png'} 3\n")
    write_mean(tmp_path / "mean.binaryproto", (3, *pixels.shape[:2]))
    text = (
        "mean_value: 10.5 mean_value: 20 mean_value: 30"
        if mean == "values"
        else f'mean_file: "{tmp_path}/mean.binaryproto"'
    )
    text = CAFFE_NET.format(list=tmp_path / "list.txt", size="", mean=f"mirror: true {text}")
    (tmp_path / "net.prototxt").write_text(text + 'layer { name: "relu" type: "ReLU" bottom: "data" top: "relu" }')
    transform = read_transform(read_network(tmp_path / "net.prototxt"), "TRAIN")
    how, notes = choose_preprocessing(transform, (1, 3, 5, 5))
    assert notes == [] and how.mirror and how.crop == 5 and how.resize is None
    ours, seen = windows(pixels, how), set()
    assert len(ours) == 5 * 9 * 2
    with worker.load(tmp_path / "net.prototxt", phase="TRAIN") as session:
        for _ in range(60):
            theirs = session.forward({}, ["data"])["data"][0]
            near = [index for index, one in enumerate(ours) if np.abs(one - theirs).max() < 1e-4]
            assert near
            seen.add(near[0])
    assert len(seen) > 20
