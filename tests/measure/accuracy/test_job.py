"""What eval measures: a pair, a folder, its steps, its original; and what ends it."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from deepmerge.data import ImageWishes
from deepmerge.errors import DeepmergeError, PlanError, ReadError
from deepmerge.formats.read import read_network
from deepmerge.formats.write import write_pair
from deepmerge.machine import cores
from deepmerge.measure.accuracy import Job, run
from deepmerge.out.read import Pair

PIXELS = np.random.default_rng(1).integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="session")
def mini(models) -> Pair:
    return Pair(*(models / f"inception_mini/inception_mini.{end}" for end in ("prototxt", "caffemodel")))


@pytest.fixture(scope="session")
def out(mini, tmp_path_factory):
    """What convert makes of it, with two approximate steps."""
    from deepmerge.plan import Wishes
    from tests.conversion import Job as ConvertJob
    from tests.conversion import convert

    folder = tmp_path_factory.mktemp("job") / "out"
    convert(ConvertJob(*mini, folder, Wishes(steps="conv1,conv2")))
    return folder


@pytest.fixture(scope="session")
def labelled(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "a.npz"
    np.savez(path, images=PIXELS, labels=np.arange(12) % 10, classes=list("abcdefghij"))
    return f"npz:{path}"


@pytest.fixture(scope="session")
def unlabelled(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "b.npz"
    np.savez(path, images=PIXELS)
    return f"npz:{path}"


def by_hand(pair: Pair, pixels: np.ndarray = PIXELS) -> np.ndarray:
    from deepmerge.engines import engine

    data = np.moveaxis(pixels[..., ::-1], 3, 1) - np.array([104, 117, 123], np.float32)[:, None, None]
    with engine("ort").load(pair.read()) as session:
        return session.forward({"data": data})["prob"]


def test_a_pair_with_labels(mini, labelled):
    report = run(Job(mini, labelled, per_class=True))
    (entry,) = report["networks"]
    best = by_hand(mini).argmax(1)
    assert entry["top"][1] == pytest.approx((best == np.arange(12) % 10).mean()) and entry["output"] == "prob"
    assert [one["name"] for one in entry["per_class"]] == list("abcdefghij") and entry["per_class"][1]["images"] == 2
    assert report["images"] == 12 and report["against"] is None and report["warnings"] == [] and report["skipped"] == 0
    assert report["images_per_second"] > 0 and entry["prototxt"] == str(mini.prototxt)


@pytest.mark.parametrize("engine", ["torch", "caffe"])
def test_other_engines(mini, labelled, engine, request):
    request.getfixturevalue("real_caffe") if engine == "caffe" else pytest.importorskip("torch")
    one, other = (run(Job(mini, labelled, against=mini, engine=name, batch_size=5)) for name in ("ort", engine))
    assert one["networks"][0]["top"] == other["networks"][0]["top"] and other["engine"] == engine
    assert other["networks"][0]["agreement"] == {"top1": 1.0, "kl": 0.0, "max_abs": 0.0, "softmax": False}


def test_a_folder_with_labels(out, labelled):
    report = run(Job(out, labelled))
    (final,), original = report["networks"], report["against"]
    assert (final["name"], original["name"], original["drop"]) == ("final", "original", None)
    assert final["drop"][1]["value"] == pytest.approx(original["top"][1] - final["top"][1])
    assert final["error"][1] == pytest.approx((final["top"][1] * (1 - final["top"][1]) / report["images"]) ** 0.5)
    assert report["threads"] == cores()


def test_an_original_that_is_gone_is_left_out_with_a_warning(mini, out, labelled, tmp_path):
    shutil.copytree(out, tmp_path / "alone")
    report = json.loads((tmp_path / "alone/report.json").read_text())
    report["source"]["caffemodel"]["path"] = "gone.caffemodel"
    (tmp_path / "alone/report.json").write_text(json.dumps(report))
    found = run(Job(tmp_path / "alone", labelled))
    assert found["against"] is None and found["networks"][0]["drop"] is None
    assert any("the original is left out: " in line for line in found["warnings"])


def test_a_folder_without_labels_is_held_against_its_original(mini, out, unlabelled):
    report = run(Job(out, unlabelled))
    (entry,) = report["networks"]
    theirs, ours = by_hand(mini), by_hand(Pair(out / "deploy.prototxt", out / "weights.caffemodel"))
    assert entry["agreement"]["top1"] == pytest.approx((theirs.argmax(1) == ours.argmax(1)).mean())
    assert entry["agreement"]["max_abs"] == pytest.approx(np.abs(theirs - ours).max(), rel=1e-4)
    assert entry["top"] is None and report["against"]["name"] == "original" and report["against"]["top"] is None


def test_steps(mini, out, labelled):
    report = run(Job(out, labelled, steps=("all",)))
    assert [entry["name"] for entry in report["networks"]] == ["conv1", "conv2", "final"] and report["against"][
        "name"
    ] == "original"
    assert {**report["networks"][1], "name": "", "prototxt": "", "caffemodel": ""} == {
        **report["networks"][2],
        "name": "",
        "prototxt": "",
        "caffemodel": "",
    }
    single = run(Job(mini, labelled))["networks"][0]["top"]
    assert report["against"]["top"] == single
    assert [entry["name"] for entry in run(Job(out, labelled, steps=("conv2",)))["networks"]] == ["conv2", "final"]
    with pytest.raises(PlanError, match="has no step 'conv3'; did you mean 'conv2' or 'conv1'"):
        run(Job(out, labelled, steps=("conv3",)))


@pytest.fixture
def moved(mini, out, tmp_path):
    """The folder, whose original is no longer where the report says."""
    copy = shutil.copytree(out, tmp_path / "moved")
    text = (copy / "report.json").read_text().replace(str(mini.prototxt.parent), "/nowhere")
    (copy / "report.json").write_text(text)
    return copy


def test_an_original_that_is_elsewhere(moved, mini, labelled, unlabelled):
    report = run(Job(moved, labelled, steps=("all",)))
    assert (
        report["against"] is None
        and "the original is left out" in report["warnings"][0]
        and "--original" in report["warnings"][0]
    )
    with pytest.raises(ReadError, match="the original's prototxt, /nowhere/.*--original PROTOTXT CAFFEMODEL"):
        run(Job(moved, unlabelled))
    assert run(Job(moved, unlabelled, original=mini))["against"]["name"] == "original"


def test_no_labels_and_nothing_to_compare_with(mini, unlabelled):
    wanted = "has no labels, so accuracy cannot be measured; give labelled images, or .*`deepmerge eval --against"
    with pytest.raises(ReadError, match=wanted):
        run(Job(mini, unlabelled))
    assert run(Job(mini, unlabelled, against=mini))["networks"][0]["agreement"]["top1"] == 1


def test_labels_out_of_range_and_missing(mini, tmp_path):
    for index in range(3):
        Image.fromarray(PIXELS[index]).save(tmp_path / f"{index}.png")
    (tmp_path / "list.txt").write_text("0.png 1\n1.png 10\n2.png 3\n")
    with pytest.raises(ReadError, match=r"^1\.png: label 10 is out of range: the network has 10 classes, 0 to 9"):
        run(Job(mini, f"list:{tmp_path / 'list.txt'}"))
    (tmp_path / "list.txt").write_text("0.png 1\n1.png\n2.png 3\n")
    with pytest.raises(ReadError, match=r"^1\.png: has no label, and labels are needed"):
        run(Job(mini, f"list:{tmp_path / 'list.txt'}"))


def test_unreadable_images(mini, tmp_path):
    for index in range(3):
        Image.fromarray(PIXELS[index]).save(tmp_path / f"{index}.png")
    (tmp_path / "1.png").write_text("no image")
    (tmp_path / "list.txt").write_text("0.png 1\n1.png 2\n2.png 3\n")
    report = run(Job(mini, f"list:{tmp_path / 'list.txt'}"))
    assert report["images"] == 2 and report["skipped"] == 1
    assert report["warnings"] == [
        "1 of 3 images could not be read, and were left out; the first: 1.png: is not an image of a known format (BMP, GIF, JPEG, PNG, PPM, TIFF, WEBP)"
    ]
    with pytest.raises(ReadError, match=r"^--strict: 1\.png: is not an image"):
        run(Job(mini, f"list:{tmp_path / 'list.txt'}", strict=True))


def test_a_folder_of_images_that_vanishes(mini, tmp_path):
    photos = tmp_path / "photos"
    for index in range(60):
        (photos / str(index % 2)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(PIXELS[index % 12]).save(photos / str(index % 2) / f"{index}.png")

    def progress(what, done, total):
        if what == "images":
            shutil.rmtree(photos, ignore_errors=True)

    with pytest.raises(ReadError, match="^folder:.*photos: the images are no longer there") as caught:
        run(Job(mini, f"folder:{photos}", batch_size=2), progress)
    assert "\n" not in str(caught.value)


def test_another_networks_input_and_classes(mini, labelled, tmp_path):
    text = mini.prototxt.read_text()
    small = tmp_path / "small.prototxt"
    small.write_text(text.replace("dim: 32", "dim: 36"))
    with pytest.raises(DeepmergeError, match="one takes images of 3×32×32, the other of 3×36×36"):
        run(Job(mini, labelled, against=Pair(small, mini.caffemodel)))


def test_raw_scores_have_the_same_ranking(mini, labelled, tmp_path):
    """A network that ends before its Softmax."""
    graph = read_network(*mini)
    graph.remove(next(layer for layer in graph.layers if layer.type == "Softmax"))
    logits = Pair(tmp_path / "l.prototxt", tmp_path / "l.caffemodel")
    write_pair(graph, *logits)
    one, other = run(Job(mini, labelled)), run(Job(logits, labelled, against=logits))
    assert (
        one["networks"][0]["top"] == other["networks"][0]["top"]
        and other["networks"][0]["agreement"]["softmax"] is True
    )


def test_mirror_averages_an_image_and_its_mirror_image(mini, tmp_path):
    pixels = np.random.default_rng(5).integers(0, 256, (60, *PIXELS.shape[1:])).astype(np.uint8)
    plain, turned = by_hand(mini, pixels), by_hand(mini, pixels[:, :, ::-1])
    labels = (plain + turned).argmax(1)
    assert (labels != plain.argmax(1)).any()
    np.savez(tmp_path / "a.npz", images=pixels, labels=labels)
    both = run(Job(mini, f"npz:{tmp_path / 'a.npz'}", ImageWishes(mirror=True)))
    assert both["images"] == 60 and both["networks"][0]["top"][1] == 1
    assert run(Job(mini, f"npz:{tmp_path / 'a.npz'}"))["networks"][0]["top"][1] < 1


def test_strict(moved, labelled):
    with pytest.raises(DeepmergeError, match="--strict: the original is left out"):
        run(Job(moved, labelled, steps=("all",), strict=True))
