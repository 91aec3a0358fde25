"""Row 4: `input` with `input_dim` or `input_shape`, as Caffe makes an Input layer of them."""

from __future__ import annotations

import pytest

from deepmerge.errors import ReadError
from deepmerge.formats.read import read_network
from tests.formats.read.legacy.judges import ours

pytestmark = pytest.mark.pitfall("row", 4)

RELU = ' layer { name: "r" type: "ReLU" bottom: "a" top: "r" }'
NETS = {
    "dims": 'input: "a" input: "b" input_dim: 1 input_dim: 2 input_dim: 3 input_dim: 4 input_dim: [5, 6, 7, 8]' + RELU,
    "shapes": RELU + ' input_shape { dim: 1 dim: 2 } input: "a" name: "behind"',
    "both": 'input: "a" input_dim: [1, 2, 3, 4] input_shape { dim: 7 }' + RELU,
    "none": RELU,
    "shapes without an input": "input_dim: [1, 2] input_shape { }" + RELU,
    "beside V1 layers": 'layers { type: RELU bottom: "a" top: "r" } input: "a" input_dim: [1, 2, 3, 4]',
}
WARNED = {
    "more dims": ('input: "a" input_dim: [1, 2, 3, 4, 5]' + RELU, "5 `input_dim` for 1 `input`; Caffe takes the first, and so does deepmerge"),
    "more shapes": (
        'input: "a" input_shape { dim: 1 } input_shape { dim: 2 }' + RELU,
        "2 `input_shape` for 1 `input`; Caffe takes the first, and so does deepmerge",
    ),
    "no shape, not read": ('input: "b"' + RELU, "left out, as it has no shape and no layer needs it: input 'b'"),
    "no shape, made by a layer": (
        'input: "a" layer { name: "d" type: "Data" top: "a" }' + RELU,
        "left out, as it has no shape and no layer needs it: input 'a'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("text", NETS.values(), ids=NETS)
def test_as_real_caffe(judge, text):
    judge.agree(text, warnings := [])
    assert warnings == []


@pytest.mark.parametrize(("text", "warning"), WARNED.values(), ids=WARNED)
def test_warnings(judge, text, warning):
    judge.agree(text, warnings := [])
    assert warnings == [warning]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            'input: "a"',
            "1 `input` need 4 `input_dim`, or one `input_shape` each, found 0 `input_dim`; give its size: --input a=1,3,H,W",
        ),
        (
            'input: "a" input_dim: [1, 2, 3]',
            "1 `input` need 4 `input_dim`, or one `input_shape` each, found 3 `input_dim`; give its size: --input a=1,3,H,W",
        ),
        ('input: "a" input: "b" input_shape { dim: 1 }', "2 `input` but 1 `input_shape`; give one each"),
    ],
)
def test_refusals(fields, message):
    with pytest.raises(ReadError) as caught:
        ours(fields + RELU)
    assert str(caught.value) == f"net.prototxt:1:1: {message}"


def test_the_graph(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(NETS["dims"])
    graph = read_network(path)
    assert graph.layers[0].params.shape == ((1, 2, 3, 4), (5, 6, 7, 8))
    assert [blob.name for blob in graph.inputs] == ["a", "b"]
