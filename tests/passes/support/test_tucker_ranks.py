"""Ranks of one layer, and of all layers under one budget."""

from __future__ import annotations

import numpy as np
import pytest

from deepmerge.errors import PassError
from deepmerge.graph.costs import layer_macs, macs
from deepmerge.graph.shapes import infer_shapes
from deepmerge.kernels import tucker
from deepmerge.kernels.moments import Moments
from deepmerge.passes.decompose_tucker import DecomposeTucker, Split, decomposable
from deepmerge.passes.support.base import Match, Options
from deepmerge.passes.support.tucker_ranks import (
    Ranks,
    allot_ranks,
    choose_ranks,
    decomposed_macs,
    energy_ranks,
    settings,
)
from deepmerge.passes.support.weights import group_of, weight_of
from tests.helpers import conv, inputs, network
from tests.helpers import layer as text_of

NET = (
    inputs((2, 12, 9, 8))
    + conv("a", "data", 32, "kernel_h: 3 kernel_w: 5 stride_h: 2 stride_w: 1 group: 2")
    + conv("b", "a", 40)
    + conv("c", "b", 24, "kernel_size: 2")
    + text_of("ip", "InnerProduct", "c", "num_output: 30")
)


@pytest.fixture
def graph(tmp_path):
    return network(tmp_path, NET)


def test_macs_are_what_the_layers_then_take(graph):
    """Of every rank that a layer may have, full ones included, which save a layer."""
    shapes = infer_shapes(graph)
    for name, ranks in (
        ("a", [(1, 1), (5, 3), (6, 7), (4, 16), (6, 16)]),
        ("b", [(1,), (17,)]),
        ("c", [(9, 20), (40, 6)]),
        ("ip", [(1,), (8,)]),
    ):
        for one in ranks:
            copy = graph.copy()
            before = macs(graph, shapes) - layer_macs(graph.layer(name), shapes)
            layer = copy.layer(name)
            wanted = decomposed_macs(graph.layer(name), one[0], one[1] if len(one) > 1 else 0, shapes)
            split = Split.of(layer, Ranks(*one), weight_of(layer).shape)
            DecomposeTucker(Options()).apply(copy, Match(layer, (layer,), (layer,), split, exact=False))
            assert macs(copy, infer_shapes(copy)) - before == wanted, (name, one)


@pytest.mark.parametrize("name", ["a", "b", "c", "ip"])
def test_settings_save_a_fifth_and_none_is_beaten(graph, name):
    shapes = infer_shapes(graph)
    found = settings(graph.layer(name), Options(), shapes)
    assert found and all(s.macs <= 0.8 * layer_macs(graph.layer(name), shapes) for s in found)
    assert all(a.macs < b.macs and a.loss > b.loss for a, b in zip(found, found[1:], strict=False))
    for one in found:
        ranks = choose_ranks(graph.layer(name), Options(ranks={name: one.ranks}), shapes)
        assert tuple(ranks.as_list) == one.ranks
        assert decomposed_macs(graph.layer(name), ranks.inside, ranks.out, shapes) == one.macs


@pytest.mark.parametrize("name", ["a", "b", "c", "ip"])
def test_ranks_of_an_energy_are_the_least_that_keep_it(graph, name):
    layer, shares = graph.layer(name), (0.8, 0.5)
    weight, group = weight_of(layer), group_of(layer)
    weight = weight.reshape(*weight.shape, *(1,) * (4 - weight.ndim))

    def kept(unfold, rank):
        """In the group that keeps least."""
        spectra = [np.linalg.svd(unfold(block), compute_uv=False) ** 2 for block in np.split(weight, group)]
        return min(np.sum(values[:rank]) / np.sum(values) for values in spectra)

    for share, ranks in zip(shares, energy_ranks(layer, Options(), shares), strict=True):
        assert ranks == choose_ranks(layer, Options(rank=f"energy:{share}"), infer_shapes(graph))
        for unfold, rank in ((tucker.unfold_in, ranks.inside), (tucker.unfold_out, ranks.out)):
            assert rank == 0 or kept(unfold, rank) >= share > kept(unfold, rank - 1)
        if ranks.out:
            near = tucker.reconstruct(*tucker.tucker2(weight, ranks.out, ranks.inside, group), group)
            assert np.linalg.norm(weight - near) <= np.sqrt(2 * (1 - share)) * np.linalg.norm(weight)
    assert (ranks.out == 0) == (name in ("b", "ip"))


@pytest.mark.parametrize("share", [0.7, 0.5, 0.3])
def test_a_budget_is_kept_and_nearly_spent(graph, share):
    shapes = infer_shapes(graph)
    layers, total = decomposable(graph, shapes), macs(graph, shapes)
    assert [layer.name for layer in layers] == ["a", "b", "c", "ip"]
    plain = DecomposeTucker(Options(rank=f"macs:{share}"))
    one = plain.prepare(graph, [layer.name for layer in layers], shapes)
    assert plain.options.ranks == {} and one.prepare(graph, [], shapes) is one
    assert one.options.ranks == allot_ranks(layers, Options(rank=f"macs:{share}"), shapes)
    copy = graph.copy()
    for name in one.options.ranks:
        one.apply(copy, one.look(copy, copy.layer(name), infer_shapes(copy)))
    assert (share - 0.05) * total < macs(copy, infer_shapes(copy)) <= share * total
    for layer in layers:
        if layer.name not in one.options.ranks:
            refusals = []
            assert one.look(graph, layer, shapes, refusals) is None
            assert [refusal.reason for refusal in refusals] == [f"macs:{share} keeps it as it is"]


def test_all_that_may_be_kept_is_kept(graph):
    assert allot_ranks(decomposable(graph, infer_shapes(graph)), Options(rank="macs:1"), infer_shapes(graph)) == {}


def test_a_layer_by_itself_keeps_that_share_of_its_own(graph):
    shapes = infer_shapes(graph)
    for layer in decomposable(graph, shapes):
        ranks = choose_ranks(layer, Options(rank="macs:0.4"), shapes)
        assert (
            0.25 * layer_macs(layer, shapes)
            < decomposed_macs(layer, ranks.inside, ranks.out, shapes)
            <= 0.4 * layer_macs(layer, shapes)
        )


def test_energies_are_those_on_the_data(graph):
    """b's input varies in three directions only: rank 3 has all of the energy, whatever the weights are."""
    mix = np.random.default_rng(0).normal(0, 1, (32, 3))
    seen = {"b": Moments("patches", np.zeros((1, 32)), (mix @ mix.T)[None])}
    shapes = infer_shapes(graph)
    assert choose_ranks(graph.layer("b"), Options(rank="energy:0.99", moments=seen), shapes) == Ranks(3)
    assert choose_ranks(graph.layer("b"), Options(rank="energy:0.99"), shapes).inside > 20
    assert choose_ranks(graph.layer("b"), Options(rank="ratio:0.5", moments=seen), shapes) == Ranks(16)


@pytest.mark.parametrize(
    ("name", "ranks", "wanted"),
    [
        ("a", [3], r"\[rank_in, rank_out\], up to 6 and 16"),
        ("a", [7, 3], "up to 6 and 16"),
        ("b", [3, 3], r"\[rank\], up to 32"),
        ("ip", [31], "up to 30"),
    ],
)
def test_ranks_that_a_layer_cannot_have(graph, name, ranks, wanted):
    with pytest.raises(PassError, match=f"layer '{name}' .* cannot have the ranks .*; give .*{wanted}"):
        choose_ranks(graph.layer(name), Options(ranks={name: ranks}), infer_shapes(graph))


@pytest.mark.parametrize("rank", ["energy:0.9", "macs:0.5", "ratio:0.5", "vbmf"])
def test_weights_with_a_nan_name_their_layer(graph, rank):
    layer = graph.layer("b")
    layer.weights[0] = np.full_like(layer.weights[0], np.nan)
    wanted = r"^layer 'b' \(Convolution\): its weights hold a NaN or an infinity; keep it with --keep b$"
    with pytest.raises(PassError, match=wanted):
        choose_ranks(layer, Options(rank=rank), infer_shapes(graph))
