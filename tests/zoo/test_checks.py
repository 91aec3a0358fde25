import shutil
from dataclasses import replace

import numpy as np
import pytest

from deepmerge import api
from deepmerge.cli.zoo_options import run_convert
from deepmerge.data import ImageWishes, open_loader
from deepmerge.engines import engine as find_engine
from deepmerge.errors import ReadError
from deepmerge.formats.read import read_network
from deepmerge.zoo.checks import ExpectationError, Pairs, run_checks
from deepmerge.zoo.one import make
from deepmerge.zoo.record import Task
from tests.zoo.conftest import write_model


@pytest.fixture
def pairs(tmp_path) -> Pairs:
    """A network, and the same one as its conversion."""
    pair = write_model(tmp_path, "first")
    made = tmp_path / "made"
    made.mkdir()
    shutil.copy(pair[0], made / "deploy.prototxt")
    shutil.copy(pair[1], made / "weights.caffemodel")
    return Pairs(pair, made, {}, 1)


@pytest.fixture
def other(pairs, tmp_path) -> Pairs:
    """A network, and another one of the same form as its conversion."""
    for file, place in zip(write_model(tmp_path, "other", 7), pairs.final, strict=True):
        shutil.copy(file, place)
    return pairs


@pytest.fixture
def images(tmp_path) -> str:
    """Images without labels."""
    pixels = np.random.default_rng(1).integers(0, 256, (30, 8, 6, 3), dtype=np.uint8)
    np.savez(tmp_path / "images.npz", images=pixels)
    return f"npz:{tmp_path}/images.npz"


@pytest.fixture
def labelled(pairs, images, tmp_path) -> str:
    """The same images, with the classes that the original finds as labels."""
    graph = read_network(*pairs.original)
    loader, _ = open_loader(images, graph, pairs.original[0], 1)
    with find_engine("ort").load(graph) as session:
        labels = [session.forward({"data": batch.data}, ["fc"])["fc"].argmax() for batch in loader.once()]
    np.savez(tmp_path / "labelled.npz", images=np.load(tmp_path / "images.npz")["images"], labels=np.array(labels))
    return f"npz:{tmp_path}/labelled.npz"


def test_a_network_is_what_is_expected_of_its_copy(pairs, images):
    measured = run_checks(pairs, {"verify": 1e-6, "max_loss": 0, "data": images, "target": "rknn2"})
    assert measured == {"verify": 0.0, "max_loss": 0.0, "target": True}


def test_all_that_is_not_as_expected_is_said(other, images):
    expect = {"verify": 1e-6, "max_loss": 1.5, "data": images, "images": 20}
    with pytest.raises(
        ExpectationError,
        match=r"^verify: .*; max_loss: it lost \d+ points of top-1 agreement on 20 images, and 1.5 are",
    ):
        run_checks(other, expect)


def test_a_loss_is_of_accuracy_where_there_are_labels(pairs, labelled, tmp_path):
    assert run_checks(pairs, {"max_loss": 0, "data": labelled}) == {"max_loss": 0.0}
    for file, place in zip(write_model(tmp_path, "other", 7), pairs.final, strict=True):
        shutil.copy(file, place)
    with pytest.raises(
        ExpectationError, match=r"^max_loss: it lost [\d.]+ points of top-1 accuracy on 30 images, and 2 are allowed$"
    ):
        run_checks(pairs, {"max_loss": 2, "data": labelled})


def test_a_loss_is_measured_on_images_as_convert_prepared_them(pairs, images, monkeypatch):
    asked, evaluate = [], api.evaluate
    monkeypatch.setattr(api, "evaluate", lambda *files, **how: asked.append(how["wishes"]) or evaluate(*files, **how))
    wishes = ImageWishes(mean=(1, 2, 3), channel_order="rgb")
    assert run_checks(replace(pairs, wishes=wishes), {"max_loss": 0, "data": images}) == {"max_loss": 0.0}
    assert asked == [wishes]


def test_the_checks_know_how_convert_prepared_images(images, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path, "net")
    asked = []
    monkeypatch.setattr("deepmerge.zoo.one.run_checks", lambda pairs, expect: asked.append(pairs.wishes) or {})
    reads = {"prototxt": "net.prototxt", "caffemodel": "net.caffemodel"}
    words = "--tucker", f"--calibration={images}", "--mean=1,2,3", "--channel-order=rgb"
    make(Task("net", str(tmp_path), str(tmp_path / "out/net"), reads, words, {}, 60, None), run_convert)
    assert asked == [ImageWishes(mean=(1, 2, 3), channel_order="rgb")]


def test_a_target_reads_the_network_in_the_sizes_that_were_given(pairs):
    assert run_checks(replace(pairs, inputs={"data": (1, 3, 8, 6)}), {"target": "rknn2"}) == {"target": True}
    with pytest.raises(ReadError, match="has no input 'image'"):
        run_checks(replace(pairs, inputs={"image": (1, 3, 8, 6)}), {"target": "rknn2"})


@pytest.mark.slow
def test_a_speedup_is_measured(pairs):
    measured = run_checks(pairs, {"speedup": 0.01})
    assert 0.01 < measured["speedup"] < 100
    with pytest.raises(ExpectationError, match=r"^speedup: [\d.]+ times as fast, and 1000 was asked$"):
        run_checks(pairs, {"speedup": 1000})


def test_a_target_that_does_not_take_it_is_said(pairs):
    with pytest.raises(
        ExpectationError, match="^target: ascend does not take layer 'bn1': it has to say use_global_stats"
    ):
        run_checks(pairs, {"target": "ascend"})
