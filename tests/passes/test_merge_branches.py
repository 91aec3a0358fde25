"""Branches merged and reducers narrowed, in real Caffe. What is exact at full width is in test_embed_branches.py."""

from __future__ import annotations

import numpy as np
import pytest

from deepmerge.graph.shapes import infer_shapes
from deepmerge.passes.merge_branches import MergeBranches
from tests.helpers import conv, inputs, layer
from tests.passes.module_nets import ENTRY, concat, inception, plain, point, reduced

POOL = layer("pool", "Pooling", "out", "kernel_size: 3 stride: 2")


def widths(found) -> dict[str, int]:
    return {x.name: x.params.num_output for x in found.graph.layers if x.type == "Convolution"}


def test_an_inception_module(runs_and_keeps_shapes):
    """1x1 → 3x3 and pooling → 5x5; the Concat's channels keep their places: 7 + 5 and 4 + 3."""
    found = runs_and_keeps_shapes(inception(), MergeBranches, left={"Convolution": 4, "ReLU": 4, "Concat": 1})
    assert widths(found) == {"b_reduce_merged": 3, "b_merged": 12, "c_reduce_merged": 2, "c_merged": 7}
    (change,) = found.applied.changes
    assert not change.exact and set(change.merged) == {"a", "b_reduce", "b", "c_reduce", "c", "d_pool", "d"}
    assert change.into == ("b_reduce_merged", "b_merged", "c_reduce_merged", "c_merged")


@pytest.mark.parametrize(
    ("width", "reducers"),
    [(0.5, (3, 2)), (0.34, (2, 1)), (0.01, (1, 1)), (1.0, (6, 4)), ("full", (13, 7))],
)
def test_width(runs_and_keeps_shapes, width, reducers):
    """A share of the reducer's own filters, at least one; `full` is what the exact embedding takes."""
    found = runs_and_keeps_shapes(inception(), MergeBranches, width=width, costly=True)
    same = width == 1.0  # blobs of the old shape keep their layer's name
    assert [widths(found)[name if same else f"{name}_merged"] for name in ("b_reduce", "c_reduce")] == list(reducers)
    assert [x.weights[0].shape[1] for x in found.graph.layers if x.name in ("b_merged", "c_merged")] == list(reducers)


def test_wider_is_nearer(runs_and_keeps_shapes):
    """With the pooling branch left alone the only loss is the reducers' width; at full width there is none."""
    errors = [
        runs_and_keeps_shapes(inception(), MergeBranches, width=width, absorb=("branches",), costly=True).error
        for width in (0.34, 1.0, "full")
    ]
    assert errors[0] > errors[1] > 100 * errors[2] and errors[2] <= 1e-5


@pytest.mark.parametrize("order", ["a b c d", "d c b a", "b a d c", "a d b c", "c d a b"])
def test_channels_keep_their_places(runs_and_keeps_shapes, order):
    """The reducers keep all; and the pooling branch's filters are found where the Concat had them."""
    found = runs_and_keeps_shapes(inception(order), MergeBranches, width="full", costly=True)
    a, d = (found.original.layer(name) for name in "ad")
    at, size = 0, {"a": 7, "b": 5, "c": 4, "d": 3}
    values = merged_biases(found)
    for name in order.split():
        if name in "ad":  # guests: their filters are in the reducer, and the host has none of their bias
            assert not values[at : at + size[name]].any()
        else:
            np.testing.assert_array_equal(values[at : at + size[name]], found.original.layer(name).weights[1])
        at += size[name]
    reducers = np.concatenate([x.weights[0] for x in found.graph.layers if x.name.endswith("_reduce_merged")])
    for guest in (a, d):
        assert all((reducers == row).all(axis=(1, 2, 3)).any() for row in guest.weights[0])


def merged_biases(found) -> np.ndarray:
    """The hosts' biases in the order of the Concat's channels."""
    last = next((x for x in found.graph.layers if x.type == "Concat"), None)
    tops = last.bottoms if last else [found.graph.outputs[0]]
    hosts = [next(x for x in found.graph.layers if x is blob.producer.bottom.producer) for blob in tops]
    return np.concatenate([host.weights[1] for host in hosts])


@pytest.mark.parametrize("kernel", ["keep", "cover"])
def test_a_strided_pooling_behind_goes_in_too(runs_and_keeps_shapes, kernel):
    text = inception() + POOL + conv("next", "pool", 3)
    found = runs_and_keeps_shapes(text, MergeBranches, kernel=kernel, left={"Convolution": 5, "ReLU": 4, "Concat": 1})
    assert [x.params.stride for x in found.graph.layers if x.name in ("b_merged", "c_merged")] == [(2, 2), (2, 2)]
    assert found.layer("b_merged").params.kernel_h == (3 if kernel == "keep" else 5)
    assert "pool" in found.applied.changes[0].merged


def test_hosts_without_guests_take_the_stride_too(runs_and_keeps_shapes):
    text = ENTRY + point("a", 7) + reduced("b", 6, 5) + reduced("c", 4, 4, "5x5") + concat("a", "b", "c") + POOL
    found = runs_and_keeps_shapes(text, MergeBranches, left={"Convolution": 4, "ReLU": 4, "Concat": 1})
    assert widths(found) == {"b_reduce_merged": 3, "b_merged": 12, "c_reduce_merged": 2, "c_merged": 4}


def test_one_host_with_the_pooling_behind(runs_and_keeps_shapes):
    """Neither Concat nor Pooling is left, and the output has its name."""
    text = ENTRY + point("a", 7) + reduced("b", 6, 5) + concat("a", "b") + POOL
    found = runs_and_keeps_shapes(text, MergeBranches, left={"Convolution": 2, "ReLU": 2})
    assert [blob.name for blob in found.graph.outputs] == ["pool"]


def test_a_squeezenet_module(runs_and_keeps_shapes):
    text = ENTRY + point("a", 4) + plain("b", 5) + concat("a", "b") + POOL
    found = runs_and_keeps_shapes(text, MergeBranches, left={"Convolution": 1, "ReLU": 1})
    assert widths(found) == {"b_merged": 9} and found.layer("b_merged").params.stride == (2, 2)


def left_alone(text: str) -> str:
    return ENTRY + point("a", 4) + reduced("b", 6, 5) + point("x", 2, "TanH") + concat("a", "b", "x") + text


@pytest.mark.parametrize(
    ("text", "options"),
    [
        (left_alone(POOL), {}),  # a branch that stays would have to be pooled by itself
        (inception("a b c") + POOL + layer("o", "TanH", "out"), {}),
        (inception("a b c") + layer("pool", "Pooling", "out", "kernel_size: 3 stride: 1"), {}),
        (inception("a b c") + layer("pool", "Pooling", "out", "pool: AVE global_pooling: true"), {}),
        (inception("a b c") + layer("pool", "Pooling", "out", "kernel_size: 2 stride: 2", "pool mask"), {}),
        (inception("a b c") + POOL, {"absorb": ("branches",)}),
        (inception("a b c") + POOL, {"keep": frozenset(["pool"])}),
        (inception("a b c") + POOL, {"keep": frozenset(["Pooling"])}),
        # no pad lets a 3x3 at stride 2 make 3 outputs of 9 values
        (inception("a b c") + layer("pool", "Pooling", "out", "kernel_size: 5 stride: 2"), {}),
    ],
)
def test_a_pooling_behind_that_stays(runs_and_keeps_shapes, text, options):
    found = runs_and_keeps_shapes(text, MergeBranches, **options)
    assert found.layer("pool").type == "Pooling" and all(
        x.params.stride == (1, 1) for x in found.graph.layers if x.type == "Convolution"
    )


def test_pooled_branches_only_where_pooling_may_go(runs_and_keeps_shapes):
    found = runs_and_keeps_shapes(inception(), MergeBranches, absorb=("branches",))
    assert found.types()["Pooling"] == 1 and found.layer("d").weights[0] is found.original.layer("d").weights[0]


def test_the_random_start(runs_and_keeps_shapes):
    found = runs_and_keeps_shapes(inception(), MergeBranches, init="xavier")
    for x in found.graph.layers:
        if x.type == "Convolution":
            assert np.abs(x.weights[0]).max() <= np.sqrt(3 / np.prod(x.weights[0].shape[1:]))


def test_learning_rates_of_merged_layers_are_their_own(runs_and_keeps_shapes):
    """ParamSpecs of the old layers are dropped: what is new learns at the solver's rates for new layers."""
    text = inception().replace('name: "b" type', 'name: "b" param { lr_mult: 0 } param { lr_mult: 0 } type')
    found = runs_and_keeps_shapes(text, MergeBranches)
    assert found.layer("b_merged").param_specs == []


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (ENTRY + point("a", 7, "ELU") + reduced("b", 6, 5, kind="ELU") + concat("a", "b"), "is not idempotent"),
        (ENTRY + point("a", 7) + plain("b", 5, kind="TanH") + concat("a", "b"), "different activations"),
        (inputs((2, 2, 9, 8)) + point("a", 90) + reduced("b", 2, 2) + concat("a", "b"), "would need"),
    ],
)
def test_refusals(refusals, text, why):
    assert why in refusals(text, MergeBranches)["out"]


def test_a_branch_with_another_activation_stays(runs_and_keeps_shapes):
    found = runs_and_keeps_shapes(left_alone("").replace("TanH", "ELU"), MergeBranches)
    assert found.types()["ELU"] == 1 and found.layer("x").weights == found.original.layer("x").weights
    assert set(widths(found)) == {"b_reduce_merged", "b_merged", "x"}


def test_the_figure_in_the_refusal(refusals):
    text = inputs((3, 2, 9, 8)) + point("a", 90) + reduced("b", 2, 2) + concat("a", "b")
    before = 72 * (2 * 90 + 2 * 2 + 2 * 2 * 9)
    after = 72 * (2 * 1 + 1 * 92 * 9)
    assert f"would need {after:,} MACs, not {before:,}; name it in --steps" in refusals(text, MergeBranches)["out"]


@pytest.mark.parametrize("kept", ["out", "Concat", "b", "Convolution"])
def test_keep_of_the_module(refusals, kept):
    text = ENTRY + point("a", 7) + reduced("b", 6, 5) + concat("a", "b")
    reasons = refusals(text, MergeBranches, keep=frozenset([kept]))
    assert reasons == ({"out": "'out' (Concat) is kept, as asked"} if kept in ("out", "Concat") else {})


@pytest.mark.parametrize(
    ("kept", "merged"),
    [
        ("a", {"c_reduce_merged", "c_merged"}),
        ("d", {"b_reduce_merged", "b_merged"}),
        ("d_pool", {"b_reduce_merged", "b_merged"}),
        ("c_reduce", {"b_reduce_merged", "b_merged"}),  # c stays, and so d cannot pass it on its way to b
    ],
)
def test_keep_of_a_branch(runs_and_keeps_shapes, kept, merged):
    found = runs_and_keeps_shapes(inception(), MergeBranches, keep=frozenset([kept]))
    assert found.layer(kept).weights == found.original.layer(kept).weights
    assert {name for name in widths(found) if name.endswith("_merged")} == merged


def test_work_falls(runs_and_keeps_shapes):
    from deepmerge.graph.costs import macs

    found = runs_and_keeps_shapes(inception() + POOL, MergeBranches)
    before, after = (macs(g, infer_shapes(g)) for g in (found.original, found.graph))
    assert after < 0.5 * before


def test_a_merged_module_is_not_merged_again(runs_and_keeps_shapes):
    """With d across c the MACs would rise, so only a goes in; a second look must not narrow the reducer once more."""
    found = runs_and_keeps_shapes(inception(), MergeBranches, keep=frozenset(["c_reduce"]))
    (change,) = found.applied.changes
    assert set(change.merged) == {"a", "b_reduce", "b"} and widths(found)["b_reduce_merged"] == 3
