from __future__ import annotations

import numpy as np
import pytest

from deepmerge.choose.standin import stand_in
from deepmerge.graph.shapes import infer_shapes
from deepmerge.passes.support.base import Options
from deepmerge.plan import Step
from deepmerge.plan.execute import run_step
from deepmerge.plan.region_choices import part_of
from tests.helpers import conv, inputs, layer, relu
from tests.helpers import network as filled


def structure(graph):
    names = [([b.name for b in one.bottoms], [t.name for t in one.tops]) for one in graph.layers]
    shapes = [[array.shape for array in one.weights] for one in graph.layers]
    return [(one.name, one.type, one.params) for one in graph.layers], names, shapes


def assert_stands_in(graph, steps):
    real = graph.copy()
    for step in steps:
        run_step(real, step, Options())
    before = structure(graph)
    made = stand_in(graph, steps, Options())
    assert structure(made) == structure(real) and structure(graph) == before
    for one in made.layers:
        assert all(np.isfinite(array).all() and array.dtype == np.float32 for array in one.weights)


def test_every_choice_of_a_network(study):
    one, decomposed = study(steps="all"), 0
    shapes = infer_shapes(one.exact)
    for region in one.regions:
        part = part_of(one.exact, region, shapes)
        for choice in region.choices:
            decomposed += "rank" in choice.label
            assert_stands_in(part, choice.steps)
    assert decomposed


@pytest.mark.parametrize("bias", ["true", "false"])
@pytest.mark.parametrize("transpose", ["true", "false"])
def test_groups_full_ranks_and_matrices_either_way_round(tmp_path, bias, transpose):
    text = (
        inputs((1, 8, 9, 9)) + conv("conv1", "data", 16, f"kernel_size: 3 group: 2 bias_term: {bias}") + relu("conv1")
    )
    text += conv("conv2", "conv1", 8, "kernel_size: 3") + conv("conv3", "conv2", 12, "kernel_size: 1")
    text += layer("fc", "InnerProduct", "conv3", f"num_output: 20 transpose: {transpose} bias_term: {bias}")
    ranks = {"conv1": (2, 3), "conv2": (4, 8), "conv3": (3,), "fc": (6,)}
    options = {"rank": "energy:0.5", "ranks": ranks}
    assert_stands_in(filled(tmp_path, text), [Step("small", ("decompose_tucker",), tuple(ranks), options=options)])


def test_the_same_steps_give_the_same_weights(study):
    one = study()
    steps = one.regions[0].choices[-1].steps
    part = part_of(one.exact, one.regions[0], one.shapes)
    a, b = (stand_in(part, steps, Options()) for _ in range(2))
    for x, y in zip(a.layers, b.layers, strict=True):
        assert all(np.array_equal(*pair) for pair in zip(x.weights, y.weights, strict=True))
