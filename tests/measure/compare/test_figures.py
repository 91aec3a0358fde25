"""Figures of hand-made arrays, in one chunk and in several."""

from __future__ import annotations

import math

import numpy as np
import pytest

from deepmerge.measure.compare.figures import Figures, is_class_like


def figures(*chunks):
    made = Figures()
    for a, b in chunks:
        made.add(np.array(a, np.float32), np.array(b, np.float32))
    return made


def test_by_hand():
    made = figures(([[0, 1], [4, 3]], [[0, 1.5], [4, 2]]))
    assert made.report() == {
        "max_abs": 1.0,
        "relative": 0.25,  # of a range of 4 - 0
        "range": 4.0,
        "mean_abs": 1.5 / 4,
        "top1_agreement": 1.0,
        "top5_agreement": None,  # two classes only
        "nans": {"a": 0, "b": 0},
    }
    assert made.above(0.2499) and not made.above(0.25) and not made.above(math.inf)


def test_chunks_add_up_to_the_whole():
    rng = np.random.default_rng(4)
    a = rng.normal(size=(10, 12)).astype(np.float32)
    b = a + rng.normal(scale=0.3, size=a.shape).astype(np.float32)
    whole, parts = figures((a, b)).report(), figures((a[:3], b[:3]), (a[3:], b[3:])).report()
    assert whole.pop("nans") == parts.pop("nans")
    assert whole == pytest.approx(parts, rel=1e-12)
    assert whole["range"] == pytest.approx(float(a.max()) - float(a.min()))
    assert 0 < whole["top5_agreement"] < 1


def test_agreement():
    a = np.zeros((4, 8), np.float32)
    a[:, :5] = [5, 4, 3, 2, 1]
    b = a.copy()
    b[0, :2] = [4, 5]  # the best two change places
    b[1, 7] = 9  # another class comes before A's five best
    b[2, 4], b[2, 5] = 0, 1  # the fifth is another one
    report = figures((a, b)).report()
    assert report["top1_agreement"] == 0.5
    assert report["top5_agreement"] == pytest.approx((1 + 0.8 + 0.8 + 1) / 4)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((3, 10), True), ((3, 10, 1, 1), True), ((3, 1), False), ((3, 10, 2, 1), False), ((3,), False)],
)
def test_what_is_class_like(shape, expected):
    assert is_class_like(shape) is expected
    report = figures((np.zeros(shape), np.zeros(shape))).report()
    assert (report["top1_agreement"] is not None) is expected


def test_trailing_axes_may_differ():
    assert figures((np.ones((2, 3, 1, 1)), np.ones((2, 3)))).report()["max_abs"] == 0


def test_a_blob_that_does_not_vary_is_measured_by_its_magnitude():
    assert figures(([[-2.0], [-2.0]], [[-2.0], [-2.5]])).relative == 0.25
    zero = figures(([[0.0]], [[1e-9]]))
    assert zero.relative == math.inf and zero.report()["relative"] is None
    assert zero.above(1e6) and not figures(([[0.0]], [[0.0]])).above(0)


def test_infinities():
    equal = figures(([[math.inf, 1, 3]], [[math.inf, 1, 3]])).report()
    assert (equal["max_abs"], equal["relative"], equal["range"]) == (0, 0, 2)
    other = figures(([[math.inf, 1, 3]], [[-math.inf, 1, 3]]))
    assert other.above(1e9) and other.report()["max_abs"] is None


def test_nan_is_above_any_tolerance():
    made = figures(([[1, 2]], [[1, 2]]), ([[math.nan, 2]], [[math.nan, math.nan]]), ([[1, 2]], [[1, 2]]))
    assert made.above(math.inf)
    report = made.report()
    assert report["nans"] == {"a": 1, "b": 2}
    assert report["max_abs"] is report["relative"] is report["mean_abs"] is report["top1_agreement"] is None
