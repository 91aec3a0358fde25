from __future__ import annotations

from deepmerge.page.layers import facts, reads, size
from tests.helpers import conv, inputs, layer, network


def test_what_differs_from_the_defaults(tmp_path):
    text = (
        inputs((1, 3, 16, 12))
        + conv("a", "data", 4, "kernel_h: 3 kernel_w: 2 stride: 2 bias_term: false")
        + layer("n", "LRN", "a", "local_size: 3")
        + layer("p", "Pooling", "n", "pool: AVE kernel_size: 2")
        + layer("odd", "Odd", "p", "")
    ).replace('"odd" type: "Odd"', '"odd" type: "Odd" odd_param { depth: 3 inner { x: 1 } }')
    found = {fact.name: fact for fact in facts(network(tmp_path, text, None))}
    assert found["a"].settings == ("kernel 3×2", "stride 2×2", "num_output 4", "bias_term false")
    assert (found["a"].tops, found["a"].weights, found["a"].params) == (("4×7×6",), ("4×3×3×2",), 72)
    assert (found["a"].macs, found["a"].bytes, found["a"].weight_bytes) == (72 * 42, 4 * 4 * 42, 288)
    assert found["a"].tensor
    assert found["n"].settings == ("local_size 3",) and not found["n"].tensor
    assert found["p"].settings == ("kernel 2×2", "pool AVE")
    assert found["odd"].settings == ("depth 3", "inner {…}") and found["odd"].tops == ("?",)


def test_reads(tmp_path):
    text = (
        inputs((1, 3, 16, 12))
        + conv("a", "data", 3)
        + layer("sum", "Eltwise", "data a")
        + layer("twice", "Eltwise", "sum sum")
    )
    assert reads(network(tmp_path, text, None)) == [[], [0], [0, 1], [2]]


def test_size():
    assert [size(s) for s in ((1, 3, 16, 12), (4, 3), (1,), (), None)] == ["3×16×12", "4×3", "1", "1", "?"]
