"""Modules recognised by structure, and which branch goes where."""

from __future__ import annotations

import pytest

from deepmerge.passes.support.base import Refused
from deepmerge.passes.support.modules import assign, branches_of, check_passes_through, pieces
from tests.helpers import conv, layer, network
from tests.passes.module_nets import ENTRY, concat, inception, plain, point, pooled, reduced

BOTH = {"point", "pooled"}


def branches(tmp_path, text: str, keep=frozenset()):
    graph = network(tmp_path, text, seed=None)
    return branches_of(graph, graph.layer("out"), keep)


def test_the_four_kinds(tmp_path):
    a, b, c, d = branches(tmp_path, inception())
    assert [x.kind for x in (a, b, c, d)] == ["point", "reduced", "reduced", "pooled"]
    assert (b.reducer.name, b.conv.name, d.conv.name, a.reducer) == ("b_reduce", "b", "d", None)
    assert [x.entry.name for x in (a, b, c, d)] == ["data"] * 4
    assert [[y.name for y in x.merged_layers] for x in (b, d)] == [["b_reduce", "b"], ["d_pool", "d"]]
    assert [kind for kind, _ in b.activations] == ["ReLU"] == [kind for kind, _ in b.reducer_activations]
    (one, _) = branches(tmp_path, ENTRY + plain("a", 3) + point("b", 2) + concat("a", "b"))
    assert one.kind == "plain" and one.hosts and one.reducer_activations == ()


@pytest.mark.parametrize(
    "text",
    [
        conv("x", "data", 4, "kernel_size: 1 pad: 1 stride: 1").replace("pad: 1", "group: 2"),
        conv("x", "data", 4, "kernel_size: 3 pad: 1 group: 2"),
        conv("x", "data", 4, "kernel_size: 3 pad: 1")
        + layer("y", "Convolution", "x", "num_output: 4 kernel_size: 1", "x2"),
        layer("t", "TanH", "data") + conv("x", "t", 4),
        conv("x", "data", 4) + layer("p", "PReLU", "x", tops="x"),
        layer("x", "Pooling", "data", "kernel_size: 3 stride: 1 pad: 1"),
        layer("p", "Pooling", "data", "kernel_size: 3 stride: 1 pad: 1") + layer("r", "ReLU", "p") + conv("x", "r", 4),
        layer("p", "Pooling", "data", "kernel_size: 3 stride: 1 pad: 1", "p mask") + conv("x", "p", 4),
        conv("y", "data", 4) + conv("z", "y", 4) + conv("x", "z", 4, "kernel_size: 3 pad: 1"),
    ],
)
def test_other_forms(tmp_path, text):
    top = "x2" if "x2" in text else "x"
    found = branches(tmp_path, ENTRY + text + point("b", 2) + concat(top, "b"))
    assert found[0].kind == "other"


def test_a_blob_with_other_readers_ends_a_branch(tmp_path):
    text = ENTRY + point("a", 3) + point("b", 2) + layer("o", "TanH", "a") + concat("a", "b")
    found = branches(tmp_path, text)
    assert (found[0].kind, found[0].layers) == ("other", ())


def test_kept_layers(tmp_path):
    assert [x.kind for x in branches(tmp_path, inception(), frozenset(["d_pool", "c"]))] == [
        "point",
        "reduced",
        "other",
        "other",
    ]
    kinds = [x.kind for x in branches(tmp_path, inception(), frozenset(["Pooling"]))]
    assert kinds == ["point", "reduced", "reduced", "other"]


@pytest.mark.parametrize(
    ("order", "guests", "wanted"),
    [
        ("a b c d", BOTH, {1: ([0], []), 2: ([], [3])}),
        ("a b c d", {"point"}, {1: ([0], [])}),
        ("b a c d", BOTH, {0: ([], [1]), 2: ([], [3])}),  # two hosts are as near: the first
        ("a d b c", BOTH, {2: ([0, 1], [])}),
        ("b c a d", BOTH, {1: ([], [2, 3])}),
        ("b a d c", BOTH, {0: ([], [1]), 3: ([2], [])}),
        ("d b c a", {"point"}, {2: ([], [3])}),
        ("a d b c", {"point"}, {2: ([0], [])}),  # the pooling branch stays, and is between
    ],
)
def test_the_nearest_host(tmp_path, order, guests, wanted):
    found, refused = assign(branches(tmp_path, inception(order)), guests)
    assert found == wanted
    assert not refused


def test_guests_that_cross(tmp_path):
    """b fits d alone, and c fits a alone: the Concat's order does not keep them from each other."""
    text = ENTRY + plain("a", 5) + point("b", 7, "TanH") + point("c", 4) + plain("d", 3, "5x5", "TanH")
    found, refused = assign(branches(tmp_path, text + concat("a", "b", "c", "d")), BOTH)
    assert found == {0: ([], [2]), 3: ([1], [])} and refused == []


def test_a_host_without_a_branch_in_between_comes_first(tmp_path):
    """a is nearer to b than to d, but c, which stays, is between them."""
    text = (
        ENTRY
        + plain("b", 5)
        + layer("c", "TanH", "data")
        + point("a", 4)
        + pooled("e", 2)
        + pooled("f", 2)
        + plain("d", 3)
    )
    found, _ = assign(branches(tmp_path, text + concat("b", "c", "a", "e", "f", "d")), BOTH)
    assert found == {5: ([2, 3, 4], [])}


def test_not_across_a_branch_that_stays(tmp_path):
    found, refused = assign(branches(tmp_path, inception("a d b c")), {"point"}, across=False)
    assert found == {} and str(refused[0]) == "a branch that stays is between it and the kxk branch"


def test_a_guest_after_a_refused_one(tmp_path):
    text = ENTRY + plain("a", 5) + point("b", 7, "TanH") + point("c", 4) + concat("a", "b", "c")
    found, refused = assign(branches(tmp_path, text), BOTH)
    assert found == {0: ([], [2])} and ["different activations" in str(reason) for reason in refused] == [True]


@pytest.mark.parametrize(
    ("places", "runs"), [([0], [[0]]), ([0, 2, 3], [[0], [2, 3]]), ([1, 2, 3], [[1, 2, 3]]), ([4, 1], [[4], [1]])]
)
def test_pieces(places, runs):
    assert pieces(places) == runs


def test_a_module_without_a_host(tmp_path):
    found, refused = assign(branches(tmp_path, ENTRY + point("a", 5) + pooled("b", 3) + concat("a", "b")), BOTH)
    assert found == {} and list(map(str, refused)) == ["the module has no kxk branch"] * 2


def test_obstacles(tmp_path):
    (a, b) = branches(tmp_path, ENTRY + point("a", 5, "ELU") + reduced("b", 3, 4, kind="ELU") + concat("a", "b"))
    with pytest.raises(Refused, match="the activation ELU after it is not idempotent") as refused:
        check_passes_through(b, a)
    assert refused.value.layer.name == "b_reduce"
    (a, b) = branches(tmp_path, ENTRY + point("a", 5) + plain("b", 4, "3x5") + concat("a", "b"))
    check_passes_through(b, a)
