"""The exact embedding of 1x1 branches, in real Caffe: nothing may change but the number of layers."""

from __future__ import annotations

from collections import Counter
from itertools import permutations

import pytest

from deepmerge.passes.embed_branches import EmbedBranches
from deepmerge.passes.merge_branches import MergeBranches
from tests.helpers import conv, layer
from tests.passes.module_nets import ENTRY, KERNELS, act, concat, inception, plain, point, pooled, reduced


@pytest.mark.parametrize("order", [" ".join(p) for p in permutations("abc")])
@pytest.mark.parametrize("kernel", ["3x3", "3x5"])
def test_every_order_of_the_concat(apply_and_check, order, kernel):
    """a is the guest; the Concat's channels keep their meaning, wherever a is."""
    text = ENTRY + point("a", 7) + reduced("b", 6, 5, kernel) + reduced("c", 4, 3, "5x5") + concat(*order.split())
    found = apply_and_check(text, EmbedBranches, costly=True, left={"Convolution": 4, "ReLU": 4, "Concat": 1})
    (change,) = found.applied.changes
    host = {"a b c": "b", "a c b": "c", "b a c": "b", "b c a": "c", "c a b": "c", "c b a": "b"}[order]
    assert change.exact and change.merged == tuple(
        x.name for x in found.original.layers if x.name in ("a", host, f"{host}_reduce")
    )
    assert change.into == (f"{host}_reduce_merged", f"{host}_merged")


def test_it_is_merge_branches_at_full_width(apply_and_check):
    left = {"Convolution": 5, "ReLU": 5, "Pooling": 1, "Concat": 1}
    full = {"width": "full", "absorb": ("branches",), "costly": True}
    assert apply_and_check(inception(), MergeBranches, left=left, **full).applied.changes[0].exact


def test_one_host_and_no_concat_is_left(apply_and_check):
    found = apply_and_check(
        ENTRY + point("a", 7) + reduced("b", 6, 5) + concat("a", "b"),
        EmbedBranches,
        costly=True,
        left={"Convolution": 2, "ReLU": 2},
    )
    assert [b.name for b in found.graph.outputs] == ["out"]


@pytest.mark.parametrize("kernel", ["3x3", "3x5"])
@pytest.mark.parametrize("order", ["a b", "b a"])
def test_a_host_without_a_reducer(apply_and_check, kernel, order):
    """As in SqueezeNet: the 1x1 become centre taps."""
    text = ENTRY + point("a", 7) + plain("b", 5, kernel) + concat(*order.split())
    found = apply_and_check(text, EmbedBranches, costly=True, left={"Convolution": 1, "ReLU": 1})
    assert found.graph.layers[1].params.num_output == 12


def test_guests_before_and_behind(apply_and_check):
    text = (
        ENTRY + point("a", 7) + reduced("b", 6, 5, "3x5") + point("c", 2) + point("d", 3) + concat("a", "b", "c", "d")
    )
    found = apply_and_check(text, EmbedBranches, costly=True, left={"Convolution": 2, "ReLU": 2})
    assert [layer.params.num_output for layer in found.graph.layers if layer.type == "Convolution"] == [6 + 12, 5 + 12]


def test_guests_in_both_hosts(apply_and_check):
    text = (
        ENTRY + reduced("a", 3, 5) + point("b", 2) + point("c", 3) + plain("d", 4, "5x5") + concat("a", "b", "c", "d")
    )
    found = apply_and_check(text, EmbedBranches, costly=True, left={"Convolution": 3, "ReLU": 3, "Concat": 1})
    assert [x.params.num_output for x in found.graph.layers if x.type == "Convolution"] == [5, 7, 7]


@pytest.mark.parametrize("behind_reducer", ["", "ReLU"])
@pytest.mark.parametrize("behind", ["", "ReLU", "TanH"])
def test_activations(apply_and_check, refusals, behind_reducer, behind):
    """The guest passes the reducer's activation too; without one there, anything may follow the convolution."""
    text = ENTRY + point("a", 7, behind) + point("b_reduce", 6, behind_reducer)
    text += conv("b", "b_reduce", 5, KERNELS["3x5"]) + act("b", behind) + concat("a", "b")
    if behind_reducer and behind != "ReLU":
        assert (
            "'a': it and 'b_reduce' are followed by different activations"
            in refusals(text, EmbedBranches, costly=True)["out"]
        )
    else:
        found = apply_and_check(text, EmbedBranches, costly=True)
        assert len(found.applied.changes) == 1 and found.types()["Convolution"] == 2


def test_without_biases(apply_and_check):
    text = (
        ENTRY
        + point("a", 7, params="bias_term: false")
        + reduced("b", 6, 5, params="bias_term: false")
        + concat("a", "b")
    )
    found = apply_and_check(text, EmbedBranches, costly=True)
    assert all(x.params.bias_term and not x.weights[1].any() for x in found.graph.layers if x.type == "Convolution")


def test_pooled_branches_stay(apply_and_check):
    found = apply_and_check(
        inception(), EmbedBranches, costly=True, left={"Convolution": 5, "ReLU": 5, "Pooling": 1, "Concat": 1}
    )
    assert found.applied.changes[0].merged == ("a", "b_reduce", "b")


def test_a_pooling_behind_the_module_stays(apply_and_check):
    text = inception() + layer("pool", "Pooling", "out", "kernel_size: 3 stride: 2")
    apply_and_check(text, EmbedBranches, costly=True, left={"Convolution": 5, "ReLU": 5, "Pooling": 2, "Concat": 1})


def test_two_modules(apply_and_check):
    second = inception().replace(ENTRY, "").replace('"data"', '"x"')
    for name in ("a", "b_reduce", "b", "c_reduce", "c", "d_pool", "d", "out"):
        second = second.replace(f'"{name}', f'"2/{name}')
    text = inception().replace('top: "out"', 'top: "x"') + second
    found = apply_and_check(
        text, EmbedBranches, costly=True, left={"Convolution": 10, "ReLU": 10, "Pooling": 2, "Concat": 2}
    )
    assert len(found.applied.changes) == 2


def test_options_of_an_approximate_merge_do_not_matter(apply_and_check):
    text = ENTRY + point("a", 7) + reduced("b", 6, 5) + concat("a", "b")
    apply_and_check(text, EmbedBranches, costly=True, width=0.25, init="xavier", absorb=("lrn",))


def module(*branches: str, names: str) -> str:
    return ENTRY + "".join(branches) + concat(*names.split())


LEAKY = '"b_reduce/act" type: "ReLU" relu_param { negative_slope: 0.1 }'


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            module(point("a", 7, "ELU"), reduced("b", 6, 5, kind="ELU"), names="a b"),
            "'b_reduce': the activation ELU after it is not idempotent",
        ),
        (
            module(point("a", 7, "Sigmoid"), reduced("b", 6, 5, kind="Sigmoid"), names="a b"),
            "'b_reduce': the activation Sigmoid after it is not",
        ),
        (
            module(point("a", 7, "ELU"), reduced("b", 6, 5), names="a b"),
            "'a': it and 'b' are followed by different activations",
        ),
        (
            module(point("a", 7, ""), reduced("b", 6, 5), names="a b"),
            "'a': it and 'b' are followed by different activations",
        ),
        (
            module(
                point("a", 7),
                reduced("b", 6, 5).replace('name: "b/act" type: "ReLU"', 'name: "b/act" type: "TanH"'),
                names="a b",
            ),
            "'a': it and 'b' are followed by different activations",
        ),
        (
            module(point("a", 7), reduced("b", 6, 5).replace('"b_reduce/act" type: "ReLU"', LEAKY), names="a b"),
            "'a': it and 'b_reduce' are followed by different activations",
        ),
        (
            module(
                layer("x", "TanH", "data"),
                point("a", 7, bottom="x"),
                reduced("b", 6, 5),
                layer("o", "TanH", "x"),
                names="a b",
            ),
            "do not start at one blob",
        ),
    ],
)
def test_refusals(refusals, text, why):
    assert why in refusals(text, EmbedBranches, costly=True)["out"]


def test_work_that_would_rise(refusals, apply_and_check):
    text = ENTRY + point("a", 70) + reduced("b", 6, 5) + concat("a", "b")
    before = 72 * (6 * 70 + 6 * 6 + 6 * 5 * 9)
    after = 72 * (6 * 76 + 76 * 75 * 9)
    reason = refusals(text, EmbedBranches)["out"]
    assert reason.startswith(f"the merged module would need {after:,} MACs, not {before:,}; name it in --steps")
    apply_and_check(text, EmbedBranches, costly=True, left={"Convolution": 2, "ReLU": 2})


def test_work_that_would_rise_does_not_depend_on_the_batch(refusals):
    reasons = {
        refusals(
            (ENTRY + point("a", 70) + reduced("b", 6, 5) + concat("a", "b")).replace(
                "dim: 2 dim: 6", f"dim: {n} dim: 6"
            ),
            EmbedBranches,
        )["out"]
        for n in (1, 3)
    }
    assert len(reasons) == 1


@pytest.mark.parametrize(
    "text",
    [
        module(point("a", 7), point("b", 5), names="a b"),
        module(reduced("a", 3, 5), reduced("b", 6, 5), names="a b"),
        module(point("a", 7), reduced("b", 6, 5), names="a b")
        .replace('type: "Concat"', 'type: "Concat" concat_param { axis: 2 }')
        .replace("num_output: 7", "num_output: 5"),
        module(point("a", 7), reduced("b", 6, 5), names="a a"),
        module(
            point("a", 7, params="pad: 1"),
            reduced("b", 6, 5).replace("kernel_size: 3 pad: 1", "kernel_size: 3 pad: 2"),
            names="a b",
        ),
        module(point("a", 7), conv("b", "data", 6, "kernel_size: 3 pad: 1 group: 2"), names="a b"),
        module(conv("a", "data", 7) + layer("a/act", "PReLU", "a", tops="a"), reduced("b", 6, 5), names="a b"),
        module(point("a", 7), layer("r", "TanH", "data"), conv("b", "r", 6, "kernel_size: 3 pad: 1"), names="a b"),
    ],
)
def test_what_is_no_module(refusals, text):
    assert refusals(text, EmbedBranches, costly=True) == {}


def test_an_activation_in_front_of_a_branch(refusals):
    """tanh(x) goes into the 1x1, x into the 3x3: one convolution cannot read both."""
    text = module(layer("r", "TanH", "data"), point("a", 7, bottom="r"), reduced("b", 6, 5), names="a b")
    assert refusals(text, EmbedBranches, costly=True) == {}


@pytest.mark.pitfall("row", 30)
def test_shared_weights(refusals):
    spec = 'param { name: "w" } param { name: "b" }'
    shared = [layer(n, "Convolution", "data", "num_output: 7 kernel_size: 1", param=spec) + act(n) for n in ("a", "c")]
    text = module(*shared, reduced("b", 6, 5), names="a b c")
    assert refusals(text, EmbedBranches, costly=True) == {}


@pytest.mark.parametrize("kept", ["a", "b", "b_reduce", "out", "Concat"])
def test_keep(refusals, kept):
    text = ENTRY + point("a", 7) + reduced("b", 6, 5) + concat("a", "b")
    reasons = refusals(text, EmbedBranches, costly=True, keep=frozenset([kept]))
    assert reasons == ({"out": "'out' (Concat) is kept, as asked"} if kept in ("out", "Concat") else {})


def test_keep_of_one_branch_leaves_the_others(apply_and_check):
    text = ENTRY + point("a", 7) + reduced("b", 6, 5) + point("c", 4) + concat("a", "b", "c")
    found = apply_and_check(
        text, EmbedBranches, costly=True, keep=frozenset(["a"]), left={"Convolution": 3, "ReLU": 3, "Concat": 1}
    )
    assert found.layer("a").weights[0] is found.original.layer("a").weights[0]


@pytest.mark.parametrize(
    ("names", "runs"),
    [("a d b", ["a_part", "b_part"]), ("a e b d", ["a_part", "b_part"]), ("b d a e", ["b_part", "a_part"])],
)
def test_a_branch_in_between_keeps_its_place(apply_and_check, names, runs):
    """The Slice gives the Concat its pieces in the old order."""
    text = module(point("a", 7), pooled("d", 3), reduced("b", 6, 5), layer("e", "TanH", "data"), names=names)
    if "e" not in names.split():
        text += layer("end", "TanH", "e")
    found = apply_and_check(text, EmbedBranches, costly=True)
    concat = found.layer("out")
    assert [blob.name for blob in concat.bottoms if blob.name.endswith("_part")] == runs
    assert sorted(x.type for x in found.graph.layers).count("Slice") == 1


def test_guests_on_both_sides_of_a_branch_in_between(apply_and_check):
    """Neighbours in both orders stay one piece."""
    text = module(point("a", 7), layer("e", "TanH", "data"), plain("b", 5), point("c", 4), names="a e b c")
    found = apply_and_check(text, EmbedBranches, costly=True)
    cut = next(x for x in found.graph.layers if x.type == "Slice")
    assert cut.params.slice_point == (7,) and [x.name for x in cut.tops] == ["a_part", "b_part"]


def test_guests_that_cross(apply_and_check):
    text = module(plain("a", 5), point("b", 7, "ReLU"), point("c", 4, ""), plain("d", 3, "5x5", ""), names="a c b d")
    found = apply_and_check(text, EmbedBranches, costly=True)
    assert Counter(x.type for x in found.graph.layers)["Slice"] == 2


@pytest.mark.parametrize(
    ("names", "parts"), [("a b e c", ["a_part", "c_part"]), ("a e c b", ["a_part", "c_part"]), ("e a b", [])]
)
def test_a_guest_may_come_first_in_its_run(apply_and_check, names, parts):
    """The host's channels come once, as in Inception-v3, where a double 3x3 stands between 5x5 and pooling."""
    text = module(point("a", 7), layer("e", "TanH", "data"), reduced("b", 5, 12), point("c", 4), names=names)
    if "c" not in names.split():
        text += layer("end", "TanH", "c")
    found = apply_and_check(text, EmbedBranches, costly=True)
    concat = found.layer("out")
    assert [blob.name for blob in concat.bottoms if blob.name.endswith("_part")] == parts
    assert len(concat.bottoms) == len(set(concat.bottoms)) == (3 if parts else 2)
