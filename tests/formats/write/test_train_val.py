"""train_val.prototxt keeps what the user trains with, and trains new layers faster; judged by real Caffe."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from deepmerge.formats.read.caffemodel import read_caffemodel
from deepmerge.graph.graph import Graph
from deepmerge.out.write import Settings
from deepmerge.plan.plan import Wishes
from tests.conversion import Job, convert
from tests.formats.write.train_nets import DATA, LOSS, made, parsed, small_network
from tests.helpers import conv, inputs, layer, network
from tests.pairs import check_deploy, check_training, feeds, folders, pictures
from tests.real_images import write_lmdb

slow = pytest.mark.slow


def read(folder: Path):
    return {m.name: m for m in parsed((folder / "train_val.prototxt").read_text()).layer}


@pytest.fixture
def small(tmp_path) -> Graph:
    return small_network(tmp_path)


# -- learning rates --------------------------------------------------------------------------------


def test_new_layers_learn_ten_times_as_fast(small):
    layers = {m.name: m for m in made(small, new=("b",))[0]}
    rates = {name: [(p.lr_mult, p.decay_mult) for p in layers[name].param] for name in ("a", "b")}
    assert rates == {"a": [(1, 1), (2, 0)], "b": [(10, 1), (20, 0)]}


def test_the_users_rates_stay_with_old_layers(tmp_path):
    spec = 'param { name: "w" lr_mult: 0 } param { lr_mult: 3 decay_mult: 0.5 }'
    text = inputs((1, 3, 6, 5)) + "".join(
        layer(n, "Convolution", "data", "num_output: 2 kernel_size: 1", param=spec) for n in "ab"
    )
    layers = {m.name: m for m in made(network(tmp_path, text), new=("b",))[0]}
    assert [(p.name, p.lr_mult) for p in layers["a"].param] == [("w", 0), ("", 3)]
    assert [(p.name, p.lr_mult, p.decay_mult) for p in layers["b"].param] == [("w", 10, 1), ("", 20, 0)]


def test_batchnorm_and_a_convolution_without_bias(tmp_path):
    text = inputs((1, 3, 6, 5)) + conv("a", "data", 4, "kernel_size: 1 bias_term: false") + layer("n", "BatchNorm", "a")
    layers = {m.name: m for m in made(network(tmp_path, text))[0]}
    assert len(layers["a"].param) == 1 and len(layers["n"].param) == 0


# -- the user's own --------------------------------------------------------------------------------


@pytest.mark.pitfall("row", 16)
def test_the_users_layers_are_kept_and_nothing_is_added(small, tmp_path):
    layers, notes = made(small, DATA + LOSS, folder=tmp_path)
    assert [m.name for m in layers] == ["data", "a", "a/relu", "b", "loss"] and notes == []
    assert layers[0].data_param.batch_size == 7


def test_a_dropout_that_is_not_in_place(small, tmp_path):
    """The deploy network's b reads a; in the user's training network it reads the Dropout behind a."""
    drop = layer("drop", "Dropout", "a", "dropout_ratio: 0.3")
    layers, _ = made(small, DATA + drop + LOSS, folder=tmp_path)
    assert [m.name for m in layers] == ["data", "a", "a/relu", "drop", "b", "loss"]
    assert (
        list(layers[3].top) == list(layers[3].bottom) == ["a"]
        and round(layers[3].dropout_param.dropout_ratio, 5) == 0.3
    )


def test_an_auxiliary_heads_own_dropout_stays_its_own(small, tmp_path):
    head = layer("drop", "Dropout", "a") + layer("fc", "InnerProduct", "drop", "num_output: 8")
    layers, _ = made(small, DATA + LOSS + head + layer("aux", "SoftmaxWithLoss", "fc label"), folder=tmp_path)
    assert [(m.name, list(m.bottom), list(m.top)) for m in layers[-3:]] == [
        ("drop", ["a"], ["drop"]),
        ("fc", ["drop"], ["fc"]),
        ("aux", ["fc", "label"], ["aux"]),
    ]


def test_what_does_not_fit_any_more_is_left_out_and_told(small, tmp_path):
    extra = (
        layer("aux", "InnerProduct", "gone", "num_output: 2")
        + layer("aux2", "ReLU", "aux")
        + layer("twin", "ReLU", "data", tops="a")
    )
    layers, notes = made(small, DATA + LOSS + extra, folder=tmp_path)
    assert [m.name for m in layers] == ["data", "a", "a/relu", "b", "loss"]
    assert notes == [
        "train_val.prototxt leaves out layer 'aux': its bottom 'gone' was merged away",
        "train_val.prototxt leaves out layer 'aux2': its bottom 'aux' was merged away",
        "train_val.prototxt leaves out layer 'twin': its top 'a' is made by the network itself",
    ]


# -- in real Caffe ---------------------------------------------------------------------------------


@pytest.fixture
def lmdbs(tmp_path) -> Path:
    """A folder with cifar10_train_lmdb and cifar10_test_lmdb, as models/inception_mini/train_val.prototxt names them."""
    images, labels = pictures(12)
    for phase, part in (("train", slice(0, 6)), ("test", slice(6, 12))):
        write_lmdb(tmp_path / f"cifar10_{phase}_lmdb", images[part], labels[part], 32, 32)
    return tmp_path


def user_file(models: Path, folder: Path, *more: str) -> Path:
    """inception_mini's train_val in `folder`, with batches of 2 and more layers."""
    text = (models / "inception_mini/train_val.prototxt").read_text().replace("batch_size: 100", "batch_size: 2")
    (folder / "user.prototxt").write_text(text + "".join(more))
    return folder / "user.prototxt"


@pytest.mark.pitfall("row", 31)
@pytest.mark.pitfall("row", 32)
def test_the_users_train_val(models, lmdbs, worker):
    """Its relative paths are found beside it, whatever folder Caffe runs in."""
    mini = models / "inception_mini"
    head = layer("aux/fc", "InnerProduct", "inception_3a/output", "num_output: 10 weight_filler { type: 'xavier' }")
    head += layer("aux/drop", "Dropout", "aux/fc", tops="aux/fc") + layer(
        "aux/loss", "SoftmaxWithLoss", "aux/fc label", param="loss_weight: 0.3"
    )
    lost = layer("aux2/fc", "InnerProduct", "inception_3b/output", "num_output: 10") + layer(
        "aux2/loss", "SoftmaxWithLoss", "aux2/fc label"
    )
    given = user_file(models, lmdbs, head, lost)
    report = convert(
        Job(
            mini / "inception_mini.prototxt",
            mini / "inception_mini.caffemodel",
            lmdbs / "out",
            train_val=given,
            settings=Settings(step_weights=True),
        )
    )
    assert report["warnings"] == [
        "train_val.prototxt leaves out layer 'aux2/fc': its bottom 'inception_3b/output' was merged away",
        "train_val.prototxt leaves out layer 'aux2/loss': its bottom 'aux2/fc' was merged away",
    ]
    layers = read(lmdbs / "out")
    assert (
        layers["data"].data_param.source == str(lmdbs / "cifar10_test_lmdb")
        and layers["data"].data_param.batch_size == 2
    )
    assert list(layers["data"].transform_param.mean_value) == [104, 117, 123]
    assert round(layers["pool5/drop"].dropout_param.dropout_ratio, 5) == 0.4 and "prob" not in layers
    assert layers["loss3/loss3"].loss_weight == [1] and layers["loss3/top-5"].accuracy_param.top_k == 5
    for folder in folders(lmdbs / "out"):
        outputs = check_training(worker, folder)
        assert set(outputs) == {"loss3/loss3", "loss3/top-1", "loss3/top-5", "aux/loss"} | (
            {"aux2/loss"} if folder.name < "04" else set()
        )


@pytest.mark.pitfall("row", 16)
def test_a_train_val_may_be_the_prototxt(models, lmdbs, worker):
    mini = models / "inception_mini"
    given = user_file(models, lmdbs)
    given.write_text(given.read_text().replace("mean_value: 104", "crop_size: 32 mean_value: 104"))
    whole = Settings(step_weights=True)
    convert(Job(given, mini / "inception_mini.caffemodel", lmdbs / "out", settings=whole))
    convert(Job(mini / "inception_mini.prototxt", mini / "inception_mini.caffemodel", lmdbs / "other", train_val=given))
    ours, theirs = (read_caffemodel(lmdbs / out / "weights.caffemodel") for out in ("out", "other"))
    for one, other in zip(ours, theirs, strict=True):
        assert [b.tobytes() for b in one.blobs] == [b.tobytes() for b in other.blobs]
    names = set(read(lmdbs / "out"))
    assert names == set(read(lmdbs / "other")) and {"data", "pool5/drop", "loss3/loss3", "loss3/top-1"} <= names
    for folder in folders(lmdbs / "out"):
        check_deploy(worker, folder, feeds(32))
        check_training(worker, folder)


@pytest.mark.pitfall("row", 32)
def test_finetuning_data_that_are_deepmerges_guess(models, lmdbs, worker):
    """Without any source the data are looked for in OUT: train_lmdb and test_lmdb."""
    mini = models / "inception_mini"
    out = lmdbs / "out"
    settings = Settings(solver={"base_lr": "0.0001"})
    convert(
        Job(
            mini / "inception_mini.prototxt",
            mini / "inception_mini.caffemodel",
            out,
            Wishes(steps="conv1"),
            settings=settings,
        )
    )
    assert (out / "train_val.prototxt").read_text().startswith("# Its data layers are deepmerge's guess")
    for phase in ("train", "test"):
        shutil.copytree(lmdbs / f"cifar10_{phase}_lmdb", out / f"{phase}_lmdb")
    for folder in folders(out):
        solved = worker.solve(folder / "solver.prototxt", [folder / "weights.caffemodel"], steps=1, test=True)
        assert set(solved.tests[0]) == {"loss", "accuracy/top-1", "accuracy/top-5"} and solved.losses[0] < 5


@slow
def test_googlenet_with_its_auxiliary_heads(models, zoo, tmp_path, worker):
    images, labels = pictures(4)
    text = (models / "googlenet/train_val.prototxt").read_text()
    for phase, name, batch in (("train", "train", 32), ("test", "val", 50)):
        write_lmdb(tmp_path / phase, images, labels, 224, 224)
        text = text.replace(f"examples/imagenet/ilsvrc12_{name}_lmdb", phase).replace(
            f"batch_size: {batch}", "batch_size: 2"
        )
    (tmp_path / "user.prototxt").write_text(text)
    pair = zoo / "googlenet.prototxt", zoo / "googlenet.caffemodel"
    report = convert(Job(*pair, tmp_path / "out", Wishes(tucker=True), train_val=tmp_path / "user.prototxt"))
    assert report["warnings"] == []
    layers = read(tmp_path / "out")
    assert "inception_4a/output" in layers["loss1/ave_pool"].bottom and layers["loss1/loss"].loss_weight[
        0
    ] == pytest.approx(0.3)
    assert layers["data"].transform_param.crop_size == 224 and layers["pool5/drop_7x7_s1"].type == "Dropout"
    for folder in folders(tmp_path / "out"):
        outputs = check_training(worker, folder)
        assert {"loss1/loss1", "loss2/loss2", "loss3/loss3"} <= set(outputs)
