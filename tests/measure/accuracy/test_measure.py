"""One pass: accuracies, agreements, and what is told."""

from __future__ import annotations

import numpy as np
import pytest

from deepmerge.data import Images, Loader, Loading, Picture, Preprocessing
from deepmerge.errors import GraphError, SourceError
from deepmerge.measure.accuracy import Settings, measure

RNG = np.random.default_rng(2)
ARRAYS = RNG.normal(size=(23, 4)).astype(np.float32)  # what is fed is what comes out
LABELS = RNG.integers(0, 4, 23)


def loader(labels=LABELS, classes=(), **options):
    images = Images(
        "x",
        23,
        lambda i: Picture(f"x[{i}]", ARRAYS[i], None if labels is None else int(labels[i])),
        classes,
        ready=True,
    )
    return Loader(images, Preprocessing(), (1, 4), 5, Loading(**options))


def evaluate(network, images, top=(1, 5), against=None, progress=lambda *_: None, **settings):
    """The figures of one network, and what holds for all."""
    found = measure([network], images, Settings(top, **settings), against, progress)
    return {**found, **found["networks"][0], "against": found["against"]}


def same(data):
    return data


def other(data):
    return data[:, ::-1] * np.array([1, 2, 3, 4], np.float32)


def test_accuracy_and_agreement():
    done = []
    found = evaluate(
        same, loader(), (1, 2), against=other, per_class=True, progress=lambda what, i, n: done.append((i, n))
    )
    assert found["images"] == 23 and found["classes"] == 4 and found["skipped"] == [] and found["notes"] == []
    order = np.argsort(-ARRAYS, axis=1)
    assert found["top"] == {1: (order[:, 0] == LABELS).mean(), 2: (order[:, :2] == LABELS[:, None]).any(1).mean()}
    assert (
        found["against"]["top"][1] == (other(ARRAYS).argmax(1) == LABELS).mean()
        and found["against"]["agreement"] is None
    )
    assert found["agreement"]["top1"] == (ARRAYS.argmax(1) == other(ARRAYS).argmax(1)).mean()
    assert [entry["images"] for entry in found["per_class"]] == np.bincount(LABELS, minlength=4).tolist()
    assert done == [(0, 23), (5, 23), (10, 23), (15, 23), (20, 23)]


def test_several_networks_in_one_pass():
    reads = []
    images = loader().images
    counted = Images("x", 23, lambda i: (reads.append(i), images.read(i))[1], ready=True)
    found = measure([same, other], Loader(counted, Preprocessing(), (1, 4), 5), against=other)
    assert sorted(reads) == list(range(23)) and len(found["networks"]) == 2
    assert found["networks"][1]["agreement"] == {"top1": 1.0, "kl": 0.0, "max_abs": 0.0, "softmax": True}
    assert found["networks"][1]["top"] == found["against"]["top"] == evaluate(other, loader())["top"]
    assert found["notes"] == ["top-5 of 4 classes is always right; top-3 is measured instead"]


def test_without_labels():
    found = evaluate(same, loader(None), against=other, per_class=True)
    assert found["top"] is found["per_class"] is found["against"]["top"] is None and found["agreement"]["top1"] < 1
    assert evaluate(same, loader(None))["agreement"] is None


def test_labels_that_do_not_fit():
    with pytest.raises(
        SourceError, match="^label 4 is out of range: the network has 4 classes, 0 to 3; is it the right network"
    ):
        evaluate(same, loader(np.where(np.arange(23) == 11, 4, LABELS)))
    images = Images("x", 23, lambda i: Picture("x", ARRAYS[i], 1 if i < 7 else None), ready=True)
    with pytest.raises(SourceError, match="some images have labels and some have none"):
        evaluate(same, Loader(images, Preprocessing(), (1, 4), 5))


def test_networks_that_cannot_be_compared():
    with pytest.raises(GraphError, match="they have 4 and 3 classes"):
        evaluate(same, loader(), against=lambda data: data[:, :3])


def test_what_is_told():
    notes = evaluate(same, loader(classes=("a", "b")), (1,))["notes"]
    assert notes == ["the images have 2 classes and the network 4; check that these are images for this network"]

    def broken(data):
        return np.where(data == ARRAYS[3, 0], np.nan, data)

    found = evaluate(broken, loader(), (1, 3))
    assert found["notes"] == ["there are NaN among the scores of 1 of 23 images; they count as wrong"]


def test_mirrored():
    """The mean of an image's scores and its mirror image's, where it is an image."""
    images = Images(
        "x", 2, lambda i: Picture("x", np.arange(12, dtype=np.float32).reshape(1, 3, 4) * (i + 1), i), ready=True
    )
    seen = []

    def corners(data):
        seen.append(data)
        return np.stack(
            [data[:, 0, 0, 0], data[:, 0, 1, 0] - 3], 1
        )  # 0, 1 and, mirrored, 3, 4; in the second 0, 5 and 6, 11

    found = evaluate(
        corners,
        Loader(images, Preprocessing(), (1, 1, 3, 4), 2),
        (1,),
        mirror=True,
        against=lambda data: np.array([[1.5, 2.5], [3, 8]]),
    )
    np.testing.assert_array_equal(seen[1], seen[0][..., ::-1])
    assert found["agreement"]["max_abs"] == 0
    seen.clear()
    evaluate(lambda data: (seen.append(data), data)[1], loader(), (1,), mirror=True)
    assert len(seen) == 5
