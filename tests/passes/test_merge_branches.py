"""Branches merged and reducers narrowed, in real Caffe. What is exact at full width is in test_embed_branches.py."""

from __future__ import annotations

import numpy as np
import pytest

from deepmerge.graph.shapes import infer_shapes
from deepmerge.passes.merge_branches import MergeBranches
from tests.helpers import conv, inputs, layer
from tests.passes.module_nets import ENTRY, concat, inception, plain, point, reduced

RUNS = 1e3  # the outputs differ, but are finite and of the right shape
POOL = layer("pool", "Pooling", "out", "kernel_size: 3 stride: 2")


def widths(found) -> dict[str, int]:
    return {x.name: x.params.num_output for x in found.graph.layers if x.type == "Convolution"}


def test_an_inception_module(apply_and_check):
    """1x1 → 3x3 and pooling → 5x5; the Concat's channels keep their places: 7 + 5 and 4 + 3."""
    found = apply_and_check(inception(), MergeBranches, within=RUNS, left={"Convolution": 4, "ReLU": 4, "Concat": 1})
    assert widths(found) == {"b_reduce_merged": 3, "b_merged": 12, "c_reduce_merged": 2, "c_merged": 7}
    (change,) = found.applied.changes
    assert not change.exact and set(change.merged) == {"a", "b_reduce", "b", "c_reduce", "c", "d_pool", "d"}
    assert change.into == ("b_reduce_merged", "b_merged", "c_reduce_merged", "c_merged")


@pytest.mark.parametrize(
    ("width", "reducers"),
    [(0.5, (3, 2)), (0.34, (2, 1)), (0.01, (1, 1)), (1.0, (6, 4)), ("full", (13, 7))],
)
def test_width(apply_and_check, width, reducers):
    """A share of the reducer's own filters, at least one; `full` is what the exact embedding takes."""
    found = apply_and_check(inception(), MergeBranches, within=RUNS, width=width, costly=True)
    same = width == 1.0  # blobs of the old shape keep their layer's name
    assert [widths(found)[name if same else f"{name}_merged"] for name in ("b_reduce", "c_reduce")] == list(reducers)
    assert [x.weights[0].shape[1] for x in found.graph.layers if x.name in ("b_merged", "c_merged")] == list(reducers)


def test_wider_is_nearer(apply_and_check):
    """With the pooling branch left alone the only loss is the reducers' width; at full width there is none."""
    errors = [
        apply_and_check(inception(), MergeBranches, within=RUNS, width=width, absorb=("branches",), costly=True).error
        for width in (0.34, 1.0, "full")
    ]
    assert errors[0] > errors[1] > 100 * errors[2] and errors[2] <= 1e-5


@pytest.mark.parametrize("order", ["a b c d", "d c b a", "b a d c", "a d b c", "c d a b"])
def test_channels_keep_their_places(apply_and_check, order):
    """The reducers keep all; and the pooling branch's filters are found where the Concat had them."""
    found = apply_and_check(inception(order), MergeBranches, within=RUNS, width="full", costly=True)
    a, d = (found.original.layer(name) for name in "ad")
    at, size = 0, {"a": 7, "b": 5, "c": 4, "d": 3}
    values = merged_biases(found)
    for name in order.split():
        if name in "ad":  # guests: their filters stand in the reducer, the host has none of their bias
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
def test_a_strided_pooling_behind_goes_in_too(apply_and_check, kernel):
    text = inception() + POOL + conv("next", "pool", 3)
    found = apply_and_check(
        text, MergeBranches, within=RUNS, kernel=kernel, left={"Convolution": 5, "ReLU": 4, "Concat": 1}
    )
    assert [x.params.stride for x in found.graph.layers if x.name in ("b_merged", "c_merged")] == [(2, 2), (2, 2)]
    assert found.layer("b_merged").params.kernel_h == (3 if kernel == "keep" else 5)
    assert "pool" in found.applied.changes[0].merged


def test_hosts_without_guests_take_the_stride_too(apply_and_check):
    text = ENTRY + point("a", 7) + reduced("b", 6, 5) + reduced("c", 4, 4, "5x5") + concat("a", "b", "c") + POOL
    found = apply_and_check(text, MergeBranches, within=RUNS, left={"Convolution": 4, "ReLU": 4, "Concat": 1})
    assert widths(found) == {"b_reduce_merged": 3, "b_merged": 12, "c_reduce_merged": 2, "c_merged": 4}


def test_one_host_with_the_pooling_behind(apply_and_check):
    """Neither Concat nor Pooling is left, and the output has its name."""
    text = ENTRY + point("a", 7) + reduced("b", 6, 5) + concat("a", "b") + POOL
    found = apply_and_check(text, MergeBranches, within=RUNS, left={"Convolution": 2, "ReLU": 2})
    assert [blob.name for blob in found.graph.outputs] == ["pool"]


def test_a_squeezenet_module(apply_and_check):
    text = ENTRY + point("a", 4) + plain("b", 5) + concat("a", "b") + POOL
    found = apply_and_check(text, MergeBranches, within=RUNS, left={"Convolution": 1, "ReLU": 1})
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
def test_a_pooling_behind_that_stays(apply_and_check, text, options):
    found = apply_and_check(text, MergeBranches, within=RUNS, **options)
    assert found.layer("pool").type == "Pooling" and all(
        x.params.stride == (1, 1) for x in found.graph.layers if x.type == "Convolution"
    )


def test_pooled_branches_only_where_pooling_may_go(apply_and_check):
    found = apply_and_check(inception(), MergeBranches, within=RUNS, absorb=("branches",))
    assert found.types()["Pooling"] == 1 and found.layer("d").weights[0] is found.original.layer("d").weights[0]


def test_the_random_start(apply_and_check):
    found = apply_and_check(inception(), MergeBranches, within=RUNS, init="xavier")
    for x in found.graph.layers:
        if x.type == "Convolution":
            assert np.abs(x.weights[0]).max() <= np.sqrt(3 / np.prod(x.weights[0].shape[1:]))


def test_learning_rates_of_merged_layers_are_their_own(apply_and_check):
    """ParamSpecs of the old layers are dropped: what is new learns at the solver's rates for new layers."""
    text = inception().replace('name: "b" type', 'name: "b" param { lr_mult: 0 } param { lr_mult: 0 } type')
    found = apply_and_check(text, MergeBranches, within=RUNS)
    assert found.layer("b_merged").param_specs == []


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (left_alone("").replace('"a" type', '"a" type').replace("TanH", "ELU"), ""),
        (ENTRY + point("a", 7, "ELU") + reduced("b", 6, 5, kind="ELU") + concat("a", "b"), "is not idempotent"),
        (ENTRY + point("a", 7) + plain("b", 5, kind="TanH") + concat("a", "b"), "different activations"),
        (inputs((2, 2, 9, 8)) + point("a", 90) + reduced("b", 2, 2) + concat("a", "b"), "would need"),
    ],
)
def test_refusals(refusals, apply_and_check, text, why):
    if why:
        assert why in refusals(text, MergeBranches)["out"]
    else:
        assert apply_and_check(text, MergeBranches, within=RUNS).types()["ELU"] == 1


def test_the_figure_in_the_refusal(refusals):
    text = inputs((3, 2, 9, 8)) + point("a", 90) + reduced("b", 2, 2) + concat("a", "b")
    before = 72 * (2 * 90 + 2 * 2 + 2 * 2 * 9)
    after = 72 * (2 * 1 + 1 * 92 * 9)
    assert f"would need {after:,} MACs, not {before:,}; name it in --steps" in refusals(text, MergeBranches)["out"]


@pytest.mark.parametrize("kept", ["out", "Concat", "b", "Convolution"])
def test_keep_of_the_module(refusals, kept):
    text = ENTRY + point("a", 7) + reduced("b", 6, 5) + concat("a", "b")
    refusals(text, MergeBranches, keep=frozenset([kept]))


@pytest.mark.parametrize("kept", ["a", "d", "d_pool", "c_reduce"])
def test_keep_of_a_branch(apply_and_check, kept):
    found = apply_and_check(inception(), MergeBranches, within=RUNS, keep=frozenset([kept]))
    assert found.layer(kept).weights == found.original.layer(kept).weights
    assert "b_merged" in widths(found) or kept == "a"


def test_work_falls(apply_and_check):
    from deepmerge.graph.costs import macs

    found = apply_and_check(inception() + POOL, MergeBranches, within=RUNS)
    before, after = (macs(g, infer_shapes(g)) for g in (found.original, found.graph))
    assert after < 0.5 * before


def test_the_same_bytes_every_time(apply_and_check):
    first, second = (apply_and_check(inception() + POOL, MergeBranches, within=RUNS).graph for _ in range(2))
    assert [[w.tobytes() for w in x.weights] for x in first.layers] == [
        [w.tobytes() for w in x.weights] for x in second.layers
    ]
