"""Which layers behind merged segments are solved anew."""

from __future__ import annotations

import pytest

from deepmerge.convert.convert import Job, convert
from deepmerge.out.read import read_converted
from deepmerge.out.write import Settings
from deepmerge.passes.support.base import Options
from deepmerge.plan.discover import Wishes
from deepmerge.plan.recipe import Recipe, Step
from deepmerge.train.recover.refit import find_behind
from deepmerge.train.recover.segments import Segment, find_segments
from tests.helpers import carried_out, conv, inputs, layer, network, relu

MERGED = inputs((2, 3, 9, 8)) + conv("a", "data", 4) + relu("a") + layer("norm", "LRN", "a")
LRN = Step("one", ("merge_lrn",), ("norm",))


def behind(tmp_path, text, *steps, chosen=slice(None)):
    original = network(tmp_path, text)
    merged, entries = carried_out(original, Recipe("net", cleanup=(), steps=steps))
    return find_behind(original, merged, entries, find_segments(original, merged, entries)[chosen])


def test_alexnets_layers_behind_its_two_steps(zoo, tmp_path):
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
    converted = read_converted(tmp_path / "out")
    original, merged = converted.original.read(), converted.final.read()
    found = find_behind(original, merged, converted.entries, find_segments(original, merged, converted.entries))
    assert [segment.name for segment in found] == ["conv3", "conv4", "conv5", "fc6", "fc7", "fc8"]
    assert found[0] == Segment("conv3", (), ("pool2",), "conv3", ("conv3", "relu3"), ("conv3",))
    assert found[3] == Segment("fc6", (), ("pool5",), "fc6", ("fc6", "relu6"), ("fc6",))
    assert found[5] == Segment("fc8", (), ("fc7",), "fc8", ("fc8",), ("fc8",))


def test_a_layer_is_solved_for_what_its_activation_makes(tmp_path):
    """In place or not; behind any other layer, its own output."""
    text = (
        conv("b", "norm", 5)
        + layer("act", "PReLU", "b")
        + layer("drop", "Dropout", "act", tops="act")
        + conv("c", "act", 2)
        + layer("sig", "Sigmoid", "c")
    )
    assert behind(tmp_path, MERGED + text, LRN) == [
        Segment("b", (), ("norm",), "act", ("b", "act", "drop"), ("b",)),
        Segment("c", (), ("act",), "c", ("c",), ("c",)),
    ]


def test_an_output_that_another_layer_overwrites_is_no_target(tmp_path):
    sigmoid = layer("sig", "Sigmoid", "b", tops="b")
    assert behind(tmp_path, MERGED + conv("b", "norm", 5) + sigmoid, LRN) == []


def test_what_several_layers_read_is_solved_for_before_their_activations(tmp_path):
    text = conv("b", "norm", 5) + layer("act", "ReLU", "b") + layer("sum", "Eltwise", "b act")
    (found,) = behind(tmp_path, MERGED + text, LRN)
    assert (found.output, found.layers) == ("b", ("b",))


BETWEEN = MERGED + conv("between", "norm", 4) + conv("b", "between", 5) + layer("norm_b", "LRN", "b")
BETWEEN += conv("last", "norm_b", 2) + conv("aside", "data", 2)
TWO = (LRN, Step("two", ("merge_lrn",), ("norm_b",)))


@pytest.mark.parametrize("chosen", [slice(None), slice(0, 1), slice(1, 2)], ids=["both", "first", "second"])
def test_layers_before_a_merged_one_and_beside_it_are_left_alone(tmp_path, chosen):
    """Those of steps that --steps does not name, too: their folders hold them as they are."""
    assert [segment.name for segment in behind(tmp_path, BETWEEN, *TWO, chosen=chosen)] == ["last"]


def test_layers_that_share_weights_are_left_alone(tmp_path):
    shared = 'layer {{ name: "{0}" type: "Convolution" bottom: "{1}" top: "{0}" param {{ name: "w" }} convolution_param {{ num_output: 4 kernel_size: 1 }} }}\n'
    assert behind(tmp_path, MERGED + shared.format("b", "norm") + shared.format("c", "b"), LRN) == []


def test_nothing_is_behind_the_last_layer(tmp_path):
    assert behind(tmp_path, MERGED, LRN) == []
