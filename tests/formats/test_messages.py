"""Layer messages, looked at and renamed."""

from __future__ import annotations

import pytest

from deepmerge.formats.messages import is_source, kind_of, read_by, renamed, runs_in, stated_batch, tops_of
from deepmerge.formats.read.prototxt import parse


def layer(text: str):
    return parse(f"layer {{ {text} }}").value("layer")


LOSS = layer('type: "SoftmaxWithLoss" bottom: "a" bottom: "label" top: "loss" top: "p"')


def test_what_a_layer_says_of_itself():
    assert (
        kind_of(LOSS) == "SoftmaxWithLoss"
        and tops_of([LOSS, LOSS]) == ["loss", "p"] * 2
        and read_by([LOSS]) == {"a", "label"}
    )
    assert [is_source(layer(t)) for t in ('top: "a"', 'top: "a" bottom: "b"', 'name: "a"')] == [True, False, False]


def test_renaming_makes_a_copy():
    copy = renamed(LOSS, "a", "b")
    assert read_by([copy]) == {"b", "label"} and read_by([LOSS]) == {"a", "label"} and tops_of([copy]) == ["loss", "p"]


@pytest.mark.parametrize(
    ("rules", "train", "test"),
    [
        ("", True, True),
        ("include { phase: TRAIN }", True, False),
        ("include { phase: TRAIN } include { phase: TEST }", True, True),
        ("include { stage: 's' }", True, True),
        ("exclude { phase: TRAIN }", False, True),
        ("exclude { phase: TEST } exclude { phase: TRAIN }", False, False),
    ],
)
def test_phases(rules, train, test):
    assert (runs_in(layer(rules), "TRAIN"), runs_in(layer(rules), "TEST")) == (train, test)


@pytest.mark.parametrize(
    ("text", "size"), [("7", 7), ('"7"', 7), ('"²"', 0), ('"x"', 0), ("-1", 0), ('"9999999999999999999999"', 0)]
)
def test_the_batch_that_a_data_layer_states(text, size):
    assert stated_batch(layer(f'type: "Mine" my_param {{ batch_size: {text} }} other_param {{ size: 3 }}')) == size
