"""Top-k as real Caffe's Accuracy layer counts it, ties included."""

from __future__ import annotations

import numpy as np
import pytest

from deepmerge.measure.accuracy.accuracy import Accuracy, Drop, ranks, sensible_tops

RNG = np.random.default_rng(0)
TOPS = (1, 2, 5)
NET = """layer { name: "s" type: "Input" top: "s" input_param { shape { dim: 200 dim: 7 } } }
layer { name: "l" type: "Input" top: "l" input_param { shape { dim: 200 } } }
""" + "".join(
    f'layer {{ name: "a{k}" type: "Accuracy" bottom: "s" bottom: "l" top: "a{k}" top: "c{k}"'
    f" accuracy_param {{ top_k: {k} }} }}\n"
    for k in TOPS
)


def test_it_is_what_caffes_accuracy_layer_counts(tmp_path, worker):
    (tmp_path / "net.prototxt").write_text(NET)
    with worker.load(tmp_path / "net.prototxt") as session:
        for values in (3, 1000):  # many ties, and few
            scores = RNG.integers(0, values, (200, 7)).astype(np.float32)
            labels = RNG.integers(0, 6, 200)  # none is of class 6
            counted = Accuracy(7, TOPS)
            for start, stop in ((0, 77), (77, 200)):
                counted.add(scores[start:stop], labels[start:stop])
            tops = [f"{kind}{k}" for k in TOPS for kind in "ac"]
            found = session.forward({"s": scores, "l": labels.astype(np.float32)}, tops)
            for k in TOPS:
                assert counted.top()[k] == pytest.approx(float(found[f"a{k}"]), abs=1e-6)
                ours = [entry["top"][k] or 0 for entry in counted.per_class()]
                np.testing.assert_allclose(ours, found[f"c{k}"], atol=1e-6)


def test_ties_are_wrong_and_so_is_nan():
    scores = np.array([[1, 1, 0], [0, 2, 1], [np.nan, 2, 1], [5, 5, 5]], np.float32)
    assert ranks(scores, np.array([0, 1, 1, 2])).tolist() == [1, 0, 3, 2]


def test_per_class():
    counted = Accuracy(3, (1, 2))
    counted.add(np.array([[3, 2, 1], [3, 2, 1], [1, 2, 3]]), np.array([0, 1, 1]))
    assert counted.top() == {1: 1 / 3, 2: 1.0}
    assert counted.per_class(("cat", "dog")) == [
        {"label": 0, "name": "cat", "images": 1, "top": {1: 1.0, 2: 1.0}},
        {"label": 1, "name": "dog", "images": 2, "top": {1: 0.0, 2: 1.0}},
        {"label": 2, "name": None, "images": 0, "top": {1: None, 2: None}},
    ]


@pytest.mark.parametrize(
    ("asked", "classes", "tops", "told"),
    [
        ((1, 5), 10, (1, 5), []),
        ((5, 1, 5), 6, (1, 5), []),
        ((1, 5), 3, (1, 2), ["top-5 of 3 classes is always right; top-2 is measured instead"]),
        ((1, 5), 2, (1,), ["top-5 of 2 classes is always right; top-1 is measured instead"]),
        (
            (5, 10),
            5,
            (4,),
            [
                "top-5 of 5 classes is always right; top-4 is measured instead",
                "top-10 of 5 classes is always right; top-4 is measured instead",
            ],
        ),
    ],
)
def test_tops_that_say_something(asked, classes, tops, told):
    assert sensible_tops(asked, classes) == (tops, told)


def test_standard_errors_by_hand():
    accuracy = Accuracy(2, (1,))
    right = accuracy.add(np.array([[1, 0], [1, 0], [0, 1], [1, 0.0]]), np.array([0, 0, 0, 1]))
    assert right.tolist() == [[True], [True], [False], [False]]
    assert accuracy.error()[1] == pytest.approx((0.5 * 0.5 / 4) ** 0.5)


def test_what_is_lost_and_its_error_are_those_of_the_differences():
    random = np.random.default_rng(2)
    own, others = (random.random((50, 2)) < share for share in (0.6, 0.8))
    drop = Drop((1, 5))
    drop.add(own[:20], others[:20])
    drop.add(own[20:], others[20:])
    for column, k in enumerate((1, 5)):
        differences = others[:, column].astype(float) - own[:, column]
        assert drop.report()[k]["value"] == pytest.approx(differences.mean())
        assert drop.report()[k]["error"] == pytest.approx(differences.std() / 50**0.5)
