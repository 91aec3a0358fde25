"""Data layers for LMDBs, lists of images and HDF5 files, each read by real Caffe."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format

from deepmerge.errors import EmitError
from deepmerge.formats import schema
from deepmerge.formats.write.data_layers import Source, data_layer, from_anywhere, hdf5_list, root_folder
from deepmerge.formats.write.prototxt import format_tree, message
from deepmerge.formats.write.train_val import TrainData
from deepmerge.graph.tree import Quoted
from deepmerge.out.write import Settings
from deepmerge.plan.plan import Wishes
from tests.conversion import Job, convert
from tests.pairs import check_training, feeds, pictures
from tests.real_images import prepared, write_lmdb


def parsed(spec: str, shape=(1, 3, 8, 6), phase: str = "TRAIN"):
    made = data_layer(phase, ("data", "label"), shape, Source.parse(spec), 5)
    return text_format.Parse(format_tree(made), schema.message_class("LayerParameter")())


@pytest.mark.parametrize("spec", ["lmdb", "lmdb:", ":x", "", "folder:x", "x"])
def test_a_source_that_is_none(spec):
    with pytest.raises(EmitError, match="give lmdb:PATH, list:FILE or hdf5:FILE"):
        Source.parse(spec)


def test_paths_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert Source.parse("lmdb:data/train:1") == Source("lmdb", str(tmp_path / "data/train:1"))
    assert Source.parse("list:~/train.txt").path == "/home/somebody/train.txt"


def test_lmdb():
    square, other = parsed("lmdb:/x", (1, 3, 8, 8)), parsed("lmdb:/x", phase="TEST")
    assert (square.type, square.data_param.source, square.data_param.batch_size, square.data_param.backend) == (
        "Data",
        "/x",
        5,
        1,
    )
    assert square.transform_param.crop_size == 8 and square.transform_param.mirror
    assert not other.transform_param.HasField("crop_size") and not other.transform_param.mirror
    assert list(square.transform_param.mean_value) == [104, 117, 123] and square.include[0].phase == 0


def test_list():
    image = parsed("list:/x").image_data_param
    assert (image.new_height, image.new_width, image.shuffle, image.is_color, image.root_folder) == (
        8,
        6,
        True,
        True,
        "",
    )
    grey = parsed("list:/x", (1, 1, 8, 6), "TEST")
    assert (
        not grey.image_data_param.is_color and not grey.image_data_param.shuffle and not grey.transform_param.mean_value
    )


def test_hdf5_takes_no_transformation():
    direct, listed = parsed("hdf5:/x/train.h5"), parsed("hdf5:/x/train.txt", phase="TEST")
    assert direct.hdf5_data_param.source == "train_hdf5.txt" and listed.hdf5_data_param.source == "/x/train.txt"
    assert not direct.HasField("transform_param")
    assert hdf5_list("TRAIN", Source.parse("hdf5:/x/train.h5")) == ("train_hdf5.txt", "/x/train.h5\n")
    assert hdf5_list("TEST", Source.parse("hdf5:/x/train.txt")) is hdf5_list("TEST", None) is None


def test_features_are_not_mirrored():
    assert not parsed("lmdb:/x", (1, 17)).HasField("transform_param")


def test_where_a_lists_relative_paths_start(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "lists").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    listed = tmp_path / "lists/train.txt"
    for text, image, root in (
        ("images/a b.png 3\n", "lists/images/a b.png", f"{tmp_path}/lists/"),
        ("cat/a.png 3\n", "here/cat/a.png", f"{tmp_path}/here/"),
        (f"{tmp_path}/lists/images/a.png 3\n", "x", ""),
        ("nowhere/a.png 3\n", "x", ""),
        ("", "x", ""),
    ):
        listed.write_text(text)
        (tmp_path / image).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / image).write_text("")
        assert root_folder(str(listed)) == root
    assert root_folder(str(tmp_path / "none.txt")) == ""


def test_relative_paths_of_the_user(tmp_path):
    """Made absolute where they are found, in the first folder that has them; else left alone."""
    for name in ("a/train_lmdb", "b/train_lmdb", "b/mean"):
        (tmp_path / name).mkdir(parents=True)
    given = message(
        transform_param=message(mean_file=Quoted("mean")),
        data_param=message(source=Quoted("train_lmdb"), batch_size=3),
        image_data_param=message(source=Quoted("nowhere"), root_folder=Quoted("mean/")),
    )
    before = format_tree(given)
    (made,) = from_anywhere([given], [tmp_path / "a", tmp_path / "b"])
    assert format_tree(given) == before
    paths = [made.message(f).value(k) for f, k in (("transform_param", "mean_file"), ("data_param", "source"))]
    assert paths == [f"{tmp_path}/b/mean", f"{tmp_path}/a/train_lmdb"]
    image = made.message("image_data_param")
    assert (image.value("source"), image.value("root_folder")) == ("nowhere", f"{tmp_path}/b/mean/")


# -- real Caffe reads them -------------------------------------------------------------------------


def converted(models: Path, out: Path, train: str, test: str) -> Path:
    mini = models / "inception_mini"
    settings = Settings(data=TrainData(Source.parse(train), Source.parse(test), batch_size=3))
    pair = mini / "inception_mini.prototxt", mini / "inception_mini.caffemodel"
    report = convert(Job(*pair, out, Wishes(steps="conv1"), settings=settings))
    assert report["warnings"] == [] and not (out / "train_val.prototxt").read_text().startswith("#")
    return out


def as_the_deploy_network(worker, out: Path, count: int = 3) -> None:
    """The TEST net's scores are the deploy net's on the same images: the data layer prepares them as it should."""
    name = "loss3/classifier"
    with worker.load(out / "train_val.prototxt", out / "weights.caffemodel") as train_val:
        found = train_val.forward({}, [name, "label"])
    with worker.load(out / "deploy.prototxt", out / "weights.caffemodel") as deploy:
        np.testing.assert_allclose(found[name], deploy.forward(feeds(32, count), [name])[name], rtol=1e-4, atol=1e-4)
    assert found["label"].ravel().tolist() == list(pictures(count)[1])


def test_an_lmdb_in_real_caffe(models, tmp_path, worker):
    images, labels = pictures(3)
    write_lmdb(tmp_path / "lmdb", images, labels, 32, 32)
    out = converted(models, tmp_path / "out", f"lmdb:{tmp_path / 'lmdb'}", f"lmdb:{tmp_path / 'lmdb'}")
    as_the_deploy_network(worker, out)
    check_training(worker, out)


def test_a_list_of_images_in_real_caffe(models, tmp_path, worker):
    from PIL import Image

    images, labels = pictures(3)
    for i, image in enumerate(images):
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / f"images/{i}.png")
    listed = tmp_path / "list.txt"
    listed.write_text("".join(f"images/{i}.png {label}\n" for i, label in enumerate(labels)))
    out = converted(models, tmp_path / "out", f"list:{listed}", f"list:{listed}")
    as_the_deploy_network(worker, out)
    check_training(worker, out / "steps/01-conv1")


@pytest.mark.parametrize("direct", [True, False], ids=["the file", "a list of files"])
def test_hdf5_in_real_caffe(direct, models, tmp_path, worker):
    h5py = pytest.importorskip("h5py", reason="writing HDF5 takes h5py: pip install h5py")
    images, labels = pictures(3)
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["data"], file["label"] = prepared(images, 32, 32), labels.astype(np.float32)
    (tmp_path / "files.txt").write_text(f"{tmp_path}/data.h5\n")
    spec = f"hdf5:{tmp_path / ('data.h5' if direct else 'files.txt')}"
    out = converted(models, tmp_path / "out", spec, spec)
    solved = check_training(worker, out / "steps/01-conv1")
    assert set(solved) == {"loss", "accuracy/top-1", "accuracy/top-5"}
    check_training(worker, out)
