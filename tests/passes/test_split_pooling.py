"""Large MAX pooling of stride 1 in two, bit by bit, in real Caffe."""

from __future__ import annotations

import pytest

from deepmerge.passes.split_pooling import SplitPooling
from tests.helpers import inputs, layer

DATA = inputs((2, 3, 9, 8))


def pool(params: str, tops: str | None = None) -> str:
    return layer("pool", "Pooling", "data", params, tops)


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize(
    "window",
    ["kernel_size: 5 pad: 2", "kernel_size: 4", "kernel_size: 7 pad: 6", "kernel_h: 3 kernel_w: 7 pad_h: 0 pad_w: 3"],
)
def test_columns_then_rows(apply_and_check, window, last):
    text = DATA + pool(f"{window} stride: 1") + ("" if last else layer("t", "TanH", "pool"))
    found = apply_and_check(text, SplitPooling, within=0)
    columns, rows = (found.layer(name).params for name in ("pool_columns", "pool"))
    before = found.original.layer("pool").params
    assert (columns.kernel, rows.kernel) == ((before.kernel_h, 1), (1, before.kernel_w))
    assert (columns.pad, rows.pad) == ((before.pad_h, 0), (0, before.pad_w))
    assert [blob.name for blob in found.graph.outputs] == ["pool" if last else "t"]


def test_several_readers_of_one_blob(apply_and_check):
    """YOLO's spatial pyramid."""
    text = DATA + "".join(
        layer(f"p{k}", "Pooling", "data", f"kernel_size: {k} pad: {k // 2} stride: 1") for k in (5, 9, 13)
    )
    found = apply_and_check(text + layer("c", "Concat", "data p5 p9 p13"), SplitPooling, within=0)
    assert found.types()["Pooling"] == 6


@pytest.mark.parametrize(
    "params",
    [
        "kernel_size: 3 stride: 1",
        "kernel_h: 3 kernel_w: 5 stride: 1",
        "kernel_size: 5 stride: 2",
        "kernel_size: 5 stride: 1 pool: AVE",
        "global_pooling: true",
    ],
)
def test_poolings_that_stay(refusals, params):
    assert not refusals(DATA + pool(params), SplitPooling)


def test_a_mask(refusals):
    assert refusals(DATA + pool("kernel_size: 5 stride: 1", "pool mask"), SplitPooling)["pool"] == "its mask is used"
