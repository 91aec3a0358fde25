"""Calibration images: what is said of them, and when they are looked at again."""

from __future__ import annotations

import numpy as np
import pytest

from deepmerge.convert.calibrate import CalibrationImages
from deepmerge.convert.calibrate import collect as collecting
from deepmerge.convert.calibrate import images as module
from deepmerge.data import ImageWishes
from deepmerge.errors import ReadError
from tests.helpers import conv, inputs, network


@pytest.fixture
def photos(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (12, 9, 8, 3), np.uint8)
    np.savez(tmp_path / "photos.npz", images=pixels)
    return f"npz:{tmp_path / 'photos.npz'}"


@pytest.fixture
def graph(tmp_path):
    return network(tmp_path, inputs((1, 3, 9, 8)) + conv("a", "data", 6, "kernel_size: 3") + conv("b", "a", 5))


def prepared(spec, graph, **options):
    made = CalibrationImages(spec, "net.prototxt", **options)
    made.prepare(graph)
    return made


def test_what_is_said_of_them(photos, graph):
    one, again = prepared(photos, graph), prepared(photos, graph)
    assert one.about == again.about == f"12 images, sha256:{one.sha256[:16]}" and one.notes == []
    about = {"source": photos, "images": 12, "sha256": one.sha256, "preprocessing": {}}
    assert one.entry() == {**about, "separable": [], "unmeasured": []}
    others = prepared(photos, graph, count=11), prepared(photos, graph, wishes=ImageWishes(mean=(0.0,)))
    assert len({one.about, *(other.about for other in others)}) == 3 and others[0].images == 11


def test_what_cannot_be_read_is_left_out_and_told_or_an_error_if_strict(tmp_path, graph):
    from PIL import Image

    for name in "ab":
        Image.new("RGB", (8, 9), "red").save(tmp_path / f"{name}.png")
    (tmp_path / "c.png").write_bytes(b"no image")
    made = prepared(f"folder:{tmp_path}", graph)
    assert made.images == 2 and len(made.notes) == 1 and "c.png" in made.notes[0]
    with pytest.raises(ReadError, match="--strict: .*c.png"):
        prepared(f"folder:{tmp_path}", graph, strict=True)


def test_a_network_is_looked_at_once_and_again_when_it_has_changed(photos, graph, monkeypatch):
    looked, collect = [], module.collect

    def counted(*args):
        looked.append(sorted(args[1]))
        return collect(*args)

    monkeypatch.setattr(module, "collect", counted)
    images = prepared(photos, graph)
    first = images.moments(graph, ["a", "b"])
    assert images.moments(graph.copy(), ["b"])["b"] is first["b"] and looked == [["a", "b"]]
    graph.layer("a").weights[0] = graph.layer("a").weights[0] * 2
    changed = images.moments(graph, ["b"])
    assert looked[1:] == [["b"]]
    np.testing.assert_allclose(
        np.diagonal(changed["b"].covariance[0]), 4 * np.diagonal(first["b"].covariance[0]), rtol=1e-4
    )
    assert list(images.moments(graph, ["a"])) == ["a"] and len(looked) == 3


def test_layers_without_moments_are_told_once(photos, graph, monkeypatch):
    monkeypatch.setattr(collecting, "MOST_BYTES", 8 * 6**2)  # a 1x1 over 6 channels has no more; the 3x3 has
    images = prepared(photos, graph)
    for names in (["a"], ["a", "b"]):
        assert list(images.moments(graph, names)) == names[1:]
    assert images.entry()["unmeasured"] == ["a"] and images.entry()["separable"] == []


def test_progress(photos, graph):
    told = []
    images = prepared(photos, graph, progress=lambda *what: told.append(what))
    images.moments(graph, ["a"])
    assert told == [("calibration", 8, 12), ("calibration", 12, 12)]


def test_a_network_that_takes_no_images(photos, tmp_path):
    graph = network(tmp_path, inputs((1, 3, 9, 8), (1, 3)) + conv("a", "data", 6))
    with pytest.raises(ReadError, match="images feed one input, and network .* has 2"):
        prepared(photos, graph)
