from __future__ import annotations

from deepmerge.graph.costs import summary
from deepmerge.passes.support.base import Options
from deepmerge.plan import Wishes, make_plan, run_recipe
from deepmerge.plan.candidates import find_candidates, step_options
from tests.helpers import conv, inputs, layer, network, relu
from tests.passes.module_nets import inception

PASSES = ["merge_lrn", "merge_pooling", "merge_branches"]
POOL = "pool: MAX kernel_size: 3 stride: 2"


def find(graph, **options):
    """{name: step} of what is found, {name: why} of the costly ones, {layer: reason} of the refusals."""
    candidates, refusals = find_candidates(graph, PASSES, Options(**options))
    steps = {c.step.name: c.step for c in candidates}
    return steps, {c.step.name: c.costly for c in candidates if c.costly}, {r.layer: r.reason for r in refusals}


def test_a_chain_is_one_step(read):
    text = (
        inputs((1, 3, 33, 33)) + conv("a", "data", 8, "kernel_size: 3 pad: 1") + relu("a") + layer("norm", "LRN", "a")
    )
    text += layer("pool", "Pooling", "norm", POOL) + layer("norm2", "LRN", "pool") + conv("b", "norm2", 4)
    steps, costly, refusals = find(read(text, None))
    assert list(steps) == ["a"] and not costly and not refusals
    assert steps["a"].layers == ("norm", "pool", "norm2") and steps["a"].passes == ("merge_lrn", "merge_pooling")
    assert steps["a"].options == {"init": "trained", "kernel": "keep"} and not steps["a"].exact


def test_a_chain_ends_where_a_pass_refuses(read):
    text = inputs((1, 3, 33, 33)) + conv("a", "data", 8, "kernel_size: 3") + layer("norm", "LRN", "a")
    text += layer("pool", "Pooling", "norm", "pool: AVE global_pooling: true")
    steps, _, refusals = find(read(text, None))
    assert steps["a"].layers == ("norm",)
    assert refusals == {"pool": "it pools the whole image"}


def test_the_graph_itself_is_left_alone(read):
    graph = read(inputs((1, 3, 33, 33)) + conv("a", "data", 8, "kernel_size: 3") + layer("norm", "LRN", "a"))
    arrays = [id(array) for one in graph.layers for array in one.weights]
    find(graph)
    assert [one.name for one in graph.layers] == ["input", "a", "norm"]
    assert [id(array) for one in graph.layers for array in one.weights] == arrays


def test_what_is_kept_is_refused_by_that_name(read):
    text = inputs((1, 3, 33, 33)) + conv("a", "data", 8, "kernel_size: 3") + layer("norm", "LRN", "a")
    steps, _, refusals = find(read(text, None), keep=frozenset({"LRN"}))
    assert not steps and refusals == {"norm": "'norm' (LRN) is kept, as asked"}


def test_a_covering_kernel_that_costs_more_is_costly(read):
    """1x1 at 32 x 32 covers a 3x3 pooling of stride 2 as 3x3 at 16 x 16: 9 / 4 of the work, plus the edge."""
    text = inputs((1, 3, 33, 33)) + conv("a", "data", 8) + layer("pool", "Pooling", "a", POOL)
    steps, costly, refusals = find(read(text, None), kernel="cover")
    before, after = 33 * 33 * 3 * 8, 16 * 16 * 9 * 3 * 8
    assert costly == {"a": f"its layers would need {after:,} MACs, not {before:,}"}
    assert refusals == {"pool": f"its layers would need {after:,} MACs, not {before:,}; --steps a merges it anyway"}
    assert steps["a"].layers == ("pool",)
    assert find(read(text, None))[1] == {}


MODULE = (
    inputs((1, 64, 8, 8)) + conv("m/1x1", "data", 16) + relu("m/1x1") + conv("m/reduce", "data", 32) + relu("m/reduce")
)
MODULE += (
    conv("m/3x3", "m/reduce", 32, "kernel_size: 3 pad: 1") + relu("m/3x3") + layer("m/out", "Concat", "m/1x1 m/3x3")
)


def test_a_module_is_one_step(read):
    steps, costly, refusals = find(read(MODULE, None))
    assert list(steps) == ["m"] and not costly and not refusals
    assert steps["m"].layers == ("m/out",)
    assert steps["m"].options == {
        "width": 0.5,
        "kernel": "keep",
        "init": "trained",
        "absorb": ("lrn", "pooling", "branches"),
    }


def test_a_costly_module_gives_the_figures(read):
    """Full width: 1x1 with 32 + 16 filters, 3x3 from these to 48."""
    steps, costly, _ = find(read(MODULE, None), width="full")
    before = 64 * (64 * 16 + 64 * 32 + 32 * 32 * 9)
    after = 64 * (64 * 48 + 48 * 48 * 9)
    assert costly == {"m": f"its layers would need {after:,} MACs, not {before:,}"}
    assert steps["m"].exact


def test_a_costly_step_does_not_stand_in_the_way_of_the_next(read):
    text = MODULE + conv("n", "m/out", 8, "kernel_size: 3") + layer("norm", "LRN", "n")
    steps, costly, _ = find(read(text, None), width="full")
    assert list(steps) == ["m", "n"] and list(costly) == ["m"]


def test_options_are_those_that_the_passes_look_at():
    assert step_options(["merge_lrn", "merge_pooling"], Options(kernel="cover")) == {
        "init": "trained",
        "kernel": "cover",
    }
    assert step_options(["embed_branches"], Options()) == {}
    assert step_options(["decompose_tucker"], Options(rank="vbmf")) == {"rank": "vbmf"}


def test_a_convolution_that_is_passed_through_without_a_top(read):
    text = (
        inputs((1, 3, 9, 9)) + 'layer { name: "odd" type: "ConvolutionDepthwise" bottom: "data" convolution_param { } }'
    )
    assert find(read(text, None)) == ({}, {}, {})


def test_with_fewer_guests_a_module_may_need_no_more_work(tmp_path):
    """All of its guests would need 423 MACs a place, not 366; the 1x1 branch alone 342, not 348."""
    graph = network(tmp_path, inception())
    plan = make_plan(graph, Wishes(options=Options(keep=frozenset({"c_reduce"}))))
    (merged,) = [step for step in plan.recipe.steps if not step.exact]
    before = summary(graph)["macs"]
    for _ in run_recipe(graph, plan.recipe):
        pass
    assert merged.layers == ("out",) and summary(graph)["macs"] <= before
