"""The images of a job as real Caffe reads them: its own forms as they are, others written as files."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from deepmerge.data import ImageWishes, Preprocessing
from deepmerge.errors import ReadError
from deepmerge.train.finetune.caffe_data import caffe_data, ways_of
from deepmerge.train.finetune.caffe_run import CaffeLearner
from tests.train.finetune.conftest import nets, photos
from tests.train.finetune.small import pictures


def test_images_as_files(tmp_path):
    pixels, labels = pictures(6)
    np.savez(tmp_path / "a.npz", images=pixels, labels=labels)
    straight = caffe_data(f"npz:{tmp_path / 'a.npz'}", tmp_path / "straight", 1, shuffle=False)
    mixed = caffe_data(f"npz:{tmp_path / 'a.npz'}", tmp_path / "mixed", 1, shuffle=True)
    lines = [Path(data.source.path).read_text().splitlines() for data in (straight, mixed)]
    assert [line.split()[1] for line in lines[0]] == [str(label) for label in labels]
    assert lines[0] != lines[1] and sorted(lines[0]) == sorted(lines[1]) and straight.count == 6
    np.savez(tmp_path / "b.npz", images=pixels)
    with pytest.raises(ReadError, match="has no label, and labels are needed"):
        caffe_data(f"npz:{tmp_path / 'b.npz'}", tmp_path / "none", 1, shuffle=False)


def test_images_smaller_than_the_crop_are_enlarged(tmp_path):
    image = pytest.importorskip("PIL.Image")
    spec, ways = photos(tmp_path / "photos", [(5, 6), (11, 9)]), [Preprocessing(crop=7, enlarge=True)]
    data = caffe_data(spec, tmp_path / "written", 1, shuffle=False, ways=ways)
    names = [line.split()[0] for line in Path(data.source.path).read_text().splitlines()]
    assert [image.open(tmp_path / "written" / name).size for name in names] == [(7, 7), (9, 11)]

    listed = tmp_path / "photos.txt"
    lines = [f"{file} 0\n" for file in sorted((tmp_path / "photos").rglob("*.*"))]
    listed.write_text("".join(lines))
    assert caffe_data(f"list:{listed}", tmp_path / "own", 1, shuffle=False).source.path == str(listed)
    again = caffe_data(f"list:{listed}", tmp_path / "again", 1, shuffle=False, ways=ways)
    assert image.open(Path(again.source.path).with_name(names[0])).size == (7, 7)
    sized = [Preprocessing(crop=7, resize=(8, 8), enlarge=True)]
    data = caffe_data(spec, tmp_path / "sized", 1, shuffle=False, ways=sized)
    assert image.open(Path(data.source.path).with_name(names[0])).size == (6, 5), "Caffe itself makes it 8x8"


def test_images_that_cannot_be_read_are_left_out_and_told(tmp_path):
    spec = photos(tmp_path / "photos", [(5, 6)] * 3)
    (tmp_path / "photos" / "class0" / "9.png").write_bytes(b"")
    data = caffe_data(spec, tmp_path / "written", 1, shuffle=True)
    (why,) = data.skipped
    assert data.count == len(list((tmp_path / "written").glob("*.png"))) == 3 and "9.png" in why
    (tmp_path / "list.txt").write_text("none.png 1\n")
    with pytest.raises(ReadError, match="none of the 1 images could be read; the first: none.png: no such file"):
        caffe_data(f"list:{tmp_path / 'list.txt'}", tmp_path / "none", 1, False, [Preprocessing(crop=7, enlarge=True)])

    net = SimpleNamespace(batch_size=2)
    files = SimpleNamespace(nets=[net, net], train=data, test=replace(data, count=2))
    learner = CaffeLearner(None, files, tmp_path, [])
    assert (learner.count, learner.skipped, learner.test_count, learner.test_skipped) == (4, [why], 2, [why])


def test_arrays_need_not_be_pictures(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"], file["label"] = np.zeros((6, 7), np.float32), np.zeros(6, np.float32)
    ways = ways_of(nets(tmp_path, "", (7,)), ImageWishes())
    assert caffe_data(f"hdf5:{tmp_path / 'a.h5'}", tmp_path / "none", 1, shuffle=False, ways=ways).count == 6


@pytest.mark.parametrize("form", ["folder", "list"])
def test_pictures_need_an_input_with_height_and_width(tmp_path, form):
    spec = photos(tmp_path / "photos", [(5, 6)])
    if form == "list":
        (tmp_path / "list.txt").write_text("photos/class0/0.png 0\n")
        spec = f"list:{tmp_path / 'list.txt'}"
    ways = ways_of(nets(tmp_path, "", (7,)), ImageWishes())
    says = "images need an input of channels, height and width; 'data' is (4, 7); give its values in hdf5:FILE"
    with pytest.raises(ReadError, match=re.escape(f"train_val.prototxt: {says}")):
        caffe_data(spec, tmp_path / "none", 1, shuffle=False, ways=ways)
    assert not (tmp_path / "none").exists()
