"""Layer messages, looked at and renamed."""

from __future__ import annotations

import pytest

from deepmerge.formats.read.prototxt import parse
from deepmerge.formats.write.messages import is_source, kind_of, read_by, renamed, runs_in, tops_of


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
