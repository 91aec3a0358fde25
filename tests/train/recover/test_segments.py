"""Every approximate layer lies in one segment, between blobs that mean the same in both networks."""

from __future__ import annotations

import json

import numpy as np
import pytest

from deepmerge.engines import engine
from deepmerge.errors import GraphError
from deepmerge.formats.read import read_network
from deepmerge.out.read import read_converted
from deepmerge.out.write import Settings
from deepmerge.passes.support.base import Options
from deepmerge.plan.plan import Wishes
from deepmerge.plan.recipe import Recipe, Step
from deepmerge.train.recover.segments import Segment, find_anchors, find_later_layers, find_segments
from tests.conversion import Job, convert
from tests.helpers import carried_out, conv, feeds, inputs, layer, network, relu
from tests.renamed import Renamer

CASES = [
    ("inception_mini", Wishes()),
    ("inception_mini", Wishes(tucker=True)),
    ("inception_mini", Wishes(options=Options(width=1.0))),
    ("inception_mini", Wishes(options=Options(width="full"))),
    ("inception_mini", Wishes(options=Options(kernel="cover"))),
    ("alexnet", Wishes(options=Options(absorb=("lrn",)))),
    ("alexnet", Wishes(tucker=True)),
    ("squeezenet", Wishes(tucker=True)),
    ("resnet50", Wishes()),
    ("googlenet", Wishes(steps="conv2,inception_4b-inception_4d")),
]


def converted(tmp_path, prototxt, caffemodel, wishes):
    """The original, the merged network as read from OUT, and the report's steps."""
    convert(Job(prototxt, caffemodel, tmp_path / "out", wishes, settings=Settings(steps=False)))
    merged = read_network(tmp_path / "out/deploy.prototxt", tmp_path / "out/weights.caffemodel")
    return read_network(prototxt, caffemodel), merged, json.loads((tmp_path / "out/report.json").read_text())["steps"]


def entries(graph, *steps):
    """The graph with the steps carried out, and what report.json would say of them."""
    return carried_out(graph, Recipe(graph.name, cleanup=(), steps=steps))


@pytest.mark.parametrize(("name", "wishes"), CASES)
def test_every_approximate_layer_is_in_one_segment(zoo, tmp_path, name, wishes):
    original, merged, steps = converted(tmp_path, zoo / f"{name}.prototxt", zoo / f"{name}.caffemodel", wishes)
    segments = find_segments(original, merged, steps)
    rough = {n for entry in steps if not entry["exact"] for n in entry["into"]} & {x.name for x in merged.layers}
    assert sorted(n for s in segments for n in s.layers if n in rough) == sorted(rough)
    assert all(set(s.trained) <= set(s.layers) and set(s.trained) >= rough & set(s.layers) for s in segments)
    order = [x.name for x in merged.layers]
    assert [order.index(s.layers[-1]) for s in segments] == sorted(order.index(s.layers[-1]) for s in segments)
    assert all(list(s.layers) == sorted(s.layers, key=order.index) for s in segments)
    assert len({s.name for s in segments}) == len(segments)
    done = {step for s in segments for step in s.steps}
    assert done == {entry["name"] for entry in steps if not entry["exact"]}


@pytest.mark.parametrize("slashes", [False, True])
def test_names_carry_no_meaning(models, tmp_path, slashes):
    files = tuple(models / f"inception_mini/inception_mini.{kind}" for kind in ("prototxt", "caffemodel"))
    rename = Renamer(3, slashes)
    other = rename.prototxt(files[0], tmp_path / "n.prototxt"), rename.caffemodel(files[1], tmp_path / "n.caffemodel")
    found = []
    for number, pair in enumerate((files, other)):
        (tmp_path / str(number)).mkdir()
        found.append(find_segments(*converted(tmp_path / str(number), *pair, Wishes())))
    for old, new in zip(*found, strict=True):
        assert new.output == rename("blob " + old.output) and new.inputs == tuple(
            rename("blob " + n) for n in old.inputs
        )
        assert len(old.layers) == len(new.layers) and len(old.trained) == len(new.trained)


def test_alexnets_two_steps(zoo, tmp_path):
    """The anchor is the blob that the LRN made: after the ReLU, which works in place on it now."""
    wishes = Wishes(options=Options(absorb=("lrn",)))
    found = find_segments(*converted(tmp_path, zoo / "alexnet.prototxt", zoo / "alexnet.caffemodel", wishes))
    assert found == [
        Segment("conv1", ("conv1",), ("data",), "norm1", ("conv1", "relu1"), ("conv1",)),
        Segment("conv2", ("conv2",), ("pool1",), "norm2", ("conv2", "relu2"), ("conv2",)),
    ]


def test_one_step_of_several_modules_is_one_segment_a_module(zoo, tmp_path):
    wishes = Wishes(steps="inception_4b-inception_4d")
    found = find_segments(*converted(tmp_path, zoo / "googlenet.prototxt", zoo / "googlenet.caffemodel", wishes))
    assert [(s.inputs, s.output) for s in found] == [
        (("inception_4a/output",), "inception_4b/output"),
        (("inception_4b/output",), "inception_4c/output"),
        (("inception_4c/output",), "inception_4d/output"),
    ]
    assert {s.steps for s in found} == {("inception_4b-inception_4d",)}


def test_reducers_of_the_same_width_are_no_anchors(zoo, tmp_path):
    """At width 1.0 a reducer's blob has the name and shape that it had, and other values."""
    wishes = Wishes(options=Options(width=1.0))
    original, merged, steps = converted(
        tmp_path, zoo / "inception_mini.prototxt", zoo / "inception_mini.caffemodel", wishes
    )
    names = {blob.name for blob in find_anchors(original, merged, steps)}
    assert "inception_3b/3x3_reduce" in {blob.name for blob in merged.blobs} - names
    segment = next(s for s in find_segments(original, merged, steps) if s.name == "inception_3b")
    assert segment.inputs == ("inception_3a/output",) and segment.output == "pool3/3x3_s2" and len(segment.trained) == 4


def test_nothing_approximate_gives_no_segment(zoo, tmp_path):
    files = zoo / "resnet50.prototxt", zoo / "resnet50.caffemodel"
    assert find_segments(*converted(tmp_path, *files, Wishes(exact=True))) == []


@pytest.mark.parametrize("name", ["resnet50", "inception_mini"])
def test_anchors_of_exact_conversions_have_equal_values(zoo, tmp_path, name):
    pair = zoo / f"{name}.prototxt", zoo / f"{name}.caffemodel"
    original, merged, steps = converted(tmp_path, *pair, Wishes(exact=True, options=Options(width="full")))
    _equal_at_anchors(original, merged, steps, least=20)


PRE = (
    inputs((2, 3, 9, 8)) + layer("pool", "Pooling", "data", "kernel_size: 2 pad: 1") + layer("bn", "BatchNorm", "pool")
)
TAIL = (
    layer("scale", "Scale", "bn", "bias_term: true")
    + conv("conv", "scale", 4, "kernel_h: 3 kernel_w: 2")
    + relu("conv")
)


@pytest.mark.parametrize("exact", [True, False], ids=["exact", "not_said_to_be"])
def test_what_went_forth_is_no_anchor(tmp_path, exact):
    """BatchNorm and Scale into the next convolution: the pooling makes the blob called `scale` now, without them."""
    original = network(tmp_path, PRE + TAIL)
    merged, steps = entries(original, Step("bn", ("fold_batchnorm", "fold_scale"), ("bn", "scale"), exact))
    assert "scale" in {blob.name for blob in merged.blobs}
    assert {blob.name for blob in find_anchors(original, merged, steps)} == {"data", "conv"}
    _equal_at_anchors(original, merged, steps, least=2)


def test_what_went_into_a_scale_is_no_anchor(tmp_path):
    original = network(
        tmp_path, PRE + layer("scale", "Scale", "bn", "bias_term: true") + layer("sig", "Sigmoid", "scale")
    )
    merged, steps = entries(original, Step("bn", ("fold_batchnorm",), ("bn",), exact=True))
    assert {blob.name for blob in find_anchors(original, merged, steps)} == {"data", "scale", "sig"}
    _equal_at_anchors(original, merged, steps, least=3)


def test_a_convolutions_own_top_before_the_lrn_that_went_into_it_is_no_anchor(tmp_path):
    """The ReLU not in place: `conv` is in both, of one shape, but means what the LRN will give."""
    text = inputs((2, 3, 9, 8)) + conv("conv", "data", 4) + layer("act", "ReLU", "conv") + layer("norm", "LRN", "act")
    original = network(tmp_path, text + conv("last", "norm", 2))
    merged, steps = entries(original, Step("one", ("merge_lrn",), ("norm",)))
    assert find_segments(original, merged, steps) == [
        Segment("one", ("one",), ("data",), "norm", ("conv", "act"), ("conv",))
    ]


def test_two_merges_in_one_step_with_nothing_between_are_two_segments(tmp_path):
    text = inputs((2, 3, 9, 8)) + conv("a", "data", 4) + relu("a") + layer("norm_a", "LRN", "a")
    text += conv("b", "norm_a", 5, "kernel_size: 3") + layer("norm_b", "LRN", "b")
    original = network(tmp_path, text)
    merged, steps = entries(original, Step("both", ("merge_lrn",), ("norm_a", "norm_b")))
    found = find_segments(original, merged, steps)
    assert [(s.name, s.inputs, s.output, s.trained) for s in found] == [
        ("both:norm_a", ("data",), "norm_a", ("a",)),
        ("both:norm_b", ("norm_a",), "norm_b", ("b",)),  # the network's output is the anchor
    ]


def test_steps_that_overlap_are_all_named(tmp_path):
    text = inputs((1, 8, 12, 11)) + conv("a", "data", 32, "kernel_size: 5") + relu("a") + layer("norm", "LRN", "a")
    original = network(tmp_path, text + layer("pool", "Pooling", "norm", "kernel_size: 2 stride: 2"))
    lrn, pooling = Step("first", ("merge_lrn",), ("norm",)), Step("second", ("merge_pooling",), ("pool",))
    tucker = Step("third", ("decompose_tucker",), ("a",), options={"rank": "ratio:0.25"})
    merged, steps = entries(original, lrn, pooling, tucker)
    (segment,) = find_segments(original, merged, steps)
    assert segment.steps == ("first", "second", "third") and segment.name == "first+second+third"
    assert (segment.inputs, segment.output) == (("data",), "pool") and len(segment.trained) == 3


def test_weights_that_others_share_are_not_trained(tmp_path):
    text = inputs((1, 3, 9, 8)) + conv("a", "data", 4) + layer("norm", "LRN", "a")
    text += 'layer { name: "b" type: "Convolution" bottom: "norm" top: "b" param { name: "w" } convolution_param { num_output: 4 kernel_size: 1 } }\n'
    text += 'layer { name: "c" type: "Convolution" bottom: "b" top: "c" param { name: "w" } convolution_param { num_output: 4 kernel_size: 1 } }\n'
    original = network(tmp_path, text)
    made = {"index": 1, "name": "x", "passes": ["merge_branches"], "exact": False, "merged": ["b"], "into": ["b"]}
    (segment,) = find_segments(original, original, [made])
    assert segment.layers == ("b",) and segment.trained == ()


def test_a_network_that_is_no_conversion_of_the_other(tmp_path):
    original = network(tmp_path, inputs((1, 3, 9, 8)) + conv("a", "data", 4))
    other = network(tmp_path, inputs((1, 3, 9, 8)) + conv("a", "data", 5, top="z"))
    made = {"index": 1, "name": "x", "passes": ["merge_lrn"], "exact": False, "merged": ["a"], "into": ["a"]}
    with pytest.raises(GraphError, match="no blob after layer 'a' of network 'net' matches the original; is it"):
        find_segments(original, other, [made])


def _equal_at_anchors(original, merged, steps, least):
    names = sorted(blob.name for blob in find_anchors(original, merged, steps))
    assert len(names) >= least
    fed = feeds(original)
    with engine().load(original) as a, engine().load(merged) as b:
        one, other = a.forward(fed, names), b.forward(fed, names)
    for name in names:
        spread = float(np.abs(one[name]).max())
        assert np.abs(one[name] - other[name]).max() <= 2e-4 * spread, name


# -- the stage refit -----------------------------------------------------------------------------

MERGED = inputs((2, 3, 9, 8)) + conv("a", "data", 4) + relu("a") + layer("norm", "LRN", "a")
LRN = Step("one", ("merge_lrn",), ("norm",))


def later(tmp_path, text, *steps, chosen=slice(None)):
    original = network(tmp_path, text)
    merged, entries = carried_out(original, Recipe("net", cleanup=(), steps=steps))
    return find_later_layers(original, merged, entries, find_segments(original, merged, entries)[chosen])


def test_alexnets_layers_after_its_two_steps(zoo, tmp_path):
    wishes = Wishes(options=Options(absorb=("lrn",)))
    convert(
        Job(
            zoo / "alexnet.prototxt",
            zoo / "alexnet.caffemodel",
            tmp_path / "out",
            wishes,
            settings=Settings(steps=False),
        )
    )
    made = read_converted(tmp_path / "out")
    original, merged = made.original.read(), made.final.read()
    found = find_later_layers(original, merged, made.entries, find_segments(original, merged, made.entries))
    assert [segment.name for segment in found] == ["conv3", "conv4", "conv5", "fc6", "fc7", "fc8"]
    assert found[0] == Segment("conv3", (), ("pool2",), "conv3", ("conv3", "relu3"), ("conv3",))
    assert found[3] == Segment("fc6", (), ("pool5",), "fc6", ("fc6", "relu6"), ("fc6",))
    assert found[5] == Segment("fc8", (), ("fc7",), "fc8", ("fc8",), ("fc8",))


def test_a_layer_is_solved_for_what_its_activation_makes(tmp_path):
    """In place or not; before any other layer, its own output."""
    text = (
        conv("b", "norm", 5)
        + layer("act", "PReLU", "b")
        + layer("drop", "Dropout", "act", tops="act")
        + conv("c", "act", 2)
        + layer("sig", "Sigmoid", "c")
    )
    assert later(tmp_path, MERGED + text, LRN) == [
        Segment("b", (), ("norm",), "act", ("b", "act", "drop"), ("b",)),
        Segment("c", (), ("act",), "c", ("c",), ("c",)),
    ]


@pytest.mark.parametrize("fields", ["scale_train: false", "sample_weights_test: true"])
def test_no_layer_is_solved_for_what_a_dropout_changes_in_a_test(tmp_path, fields):
    """As forks' do: caffe-fast-rcnn, caffe-segnet."""
    text = conv("b", "norm", 5) + layer("act", "ReLU", "b") + layer("drop", "Dropout", "act", fields)
    assert later(tmp_path, MERGED + text, LRN) == [Segment("b", (), ("norm",), "act", ("b", "act"), ("b",))]


def test_an_output_that_another_layer_overwrites_is_no_target(tmp_path):
    sigmoid = layer("sig", "Sigmoid", "b", tops="b")
    assert later(tmp_path, MERGED + conv("b", "norm", 5) + sigmoid, LRN) == []


def test_what_several_layers_read_is_solved_for_before_their_activations(tmp_path):
    text = conv("b", "norm", 5) + layer("act", "ReLU", "b") + layer("sum", "Eltwise", "b act")
    (found,) = later(tmp_path, MERGED + text, LRN)
    assert (found.output, found.layers) == ("b", ("b",))


BETWEEN = MERGED + conv("between", "norm", 4) + conv("b", "between", 5) + layer("norm_b", "LRN", "b")
BETWEEN += conv("last", "norm_b", 2) + conv("aside", "data", 2)
TWO = (LRN, Step("two", ("merge_lrn",), ("norm_b",)))


@pytest.mark.parametrize("chosen", [slice(None), slice(0, 1), slice(1, 2)], ids=["both", "first", "second"])
def test_layers_before_a_merged_one_and_beside_it_are_left_alone(tmp_path, chosen):
    """Those of steps that --steps does not name, too: their folders hold them as they are."""
    assert [segment.name for segment in later(tmp_path, BETWEEN, *TWO, chosen=chosen)] == ["last"]


def test_layers_that_share_weights_are_left_alone(tmp_path):
    shared = 'layer {{ name: "{0}" type: "Convolution" bottom: "{1}" top: "{0}" param {{ name: "w" }} convolution_param {{ num_output: 4 kernel_size: 1 }} }}\n'
    assert later(tmp_path, MERGED + shared.format("b", "norm") + shared.format("c", "b"), LRN) == []


def test_nothing_is_after_the_last_layer(tmp_path):
    assert later(tmp_path, MERGED, LRN) == []
