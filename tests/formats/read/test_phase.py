"""The layers of a phase; the judge is what real Caffe's Net keeps."""

from __future__ import annotations

import pytest

from deepmerge.errors import GraphError, ReadError
from deepmerge.formats.read.network import read_network
from deepmerge.formats.read.phase import in_phase
from deepmerge.formats.read.prototxt import parse
from tests.helpers import inputs, layer

RULES = [
    "", "include { }", "exclude { }",
    "include { phase: TEST }", "include { phase: TRAIN }", "exclude { phase: TEST }", "exclude { phase: TRAIN }",
    "include: { phase: 1 }", "include < phase: TRAIN > include < phase: TEST >", "exclude { phase: TRAIN } exclude { phase: TEST }",
    "include { min_level: 0 }", "include { min_level: 1 }", "include { max_level: 0 }", "include { max_level: -1 }",
    "exclude { min_level: -1 max_level: 1 }", "include { phase: TEST min_level: 1 }",
    'include { stage: "a" }', 'include { stage: "a" stage: "b" }', 'include { stage: "a" stage: "c" }', 'exclude { stage: "a" }',
    'include { not_stage: "a" }', 'include { not_stage: "c" }', 'exclude { not_stage: "c" }', 'include { stage: "a" not_stage: "b" }',
    'include { phase: TEST stage: "c" } include { stage: "b" }', 'exclude { phase: TRAIN stage: "a" }',
]  # fmt: skip
STATE = 'state { phase: TRAIN level: 5 stage: "a" stage: "b" }'


def kept(state: str) -> list[int]:
    tree = parse(state)
    return [i for i, rule in enumerate(RULES) if in_phase(parse(rule), tree.message("state"), "net.prototxt")]


@pytest.mark.pitfall("row", 15)
@pytest.mark.parametrize("state", ["", STATE])
def test_rules_as_worker_has_them(tmp_path, worker, state):
    layers = [
        f'layer {{ name: "{i}" type: "DummyData" top: "{i}" dummy_data_param {{ shape {{ dim: 1 }} }} {rule} }}'
        for i, rule in enumerate(RULES)
    ]
    path = tmp_path / "net.prototxt"
    path.write_text("\n".join([state, *layers]))
    with worker.load(path) as session:
        assert kept(state) == [int(layer["name"]) for layer in session.info()["layers"]]


@pytest.mark.pitfall("row", 15)
def test_rules():
    assert kept("") == [0, 1, 3, 6, 7, 8, 10, 12, 19, 20, 21, 25]


@pytest.mark.pitfall("row", 15)
def test_the_other_phase():
    layer = parse("include { phase: TRAIN }")
    assert in_phase(layer, None, "x", "TRAIN") and not in_phase(layer, None, "x")


@pytest.mark.pitfall("row", 6)
def test_a_phase_of_some_fork_is_another_phase():
    assert not in_phase(parse("include { phase: RUN }"), None, "x")
    assert in_phase(parse("exclude { phase: RUN }"), None, "x")


@pytest.mark.pitfall("row", 15)
def test_both_in_one_layer():
    with pytest.raises(ReadError) as caught:
        in_phase(parse("name: 'x' type: 'X'\ninclude { phase: TEST }\nexclude { phase: TRAIN }"), None, "net.prototxt")
    assert str(caught.value) == "net.prototxt:3:1: layer 'x' (X): has both include and exclude; keep one of them"


def test_a_left_out_layer_is_named_as_the_reason(tmp_path):
    """A bottom that only a TRAIN layer, or one of a stage, would make."""
    path = tmp_path / "net.prototxt"
    for rule in ("include { phase: TRAIN }", 'include { stage: "deploy" min_level: 1 }', "exclude { phase: TEST }"):
        made = layer("b", "ReLU", "a").replace("}\n", f"{rule} }}\n")
        path.write_text(inputs((1, 2, 3, 3)) + layer("a", "TanH", "data") + made + layer("c", "TanH", "b"))
        with pytest.raises(GraphError) as caught:
            read_network(path)
        said = rule.replace('"', "")
        assert str(caught.value).endswith(
            "layer 'c' (TanH) reads 'b', which no layer before it makes in the TEST phase; "
            f"layer 'b' (ReLU) makes it, but is left out: it says {said}"
        )


def test_the_size_of_an_input_that_only_training_has_may_be_given(tmp_path):
    path = tmp_path / "net.prototxt"
    data = 'layer { name: "d" type: "Data" top: "data" top: "label" include { phase: TRAIN } }'
    path.write_text(data + layer("a", "TanH", "data"))
    with pytest.raises(GraphError) as caught:
        read_network(path)
    assert str(caught.value).endswith(
        "layer 'd' (Data) makes it, but is left out: it says include { phase: TRAIN }; "
        "if it is an input, give its size: --input data=1,3,H,W"
    )
    assert read_network(path, inputs={"data": (3, 4, 4)}).given_inputs == {"data": (1, 3, 4, 4)}


@pytest.mark.parametrize("field", ["include", "exclude"])
def test_a_rule_of_a_v0_layer_that_is_none(tmp_path, field):
    path = tmp_path / "net.prototxt"
    path.write_text(
        f'layers {{ layer {{ name: "n" type: "lrn" {field}: 6 }} bottom: "d" top: "n" }} input: "d" input_dim: [1, 2, 3, 3]'
    )
    with pytest.raises(ReadError, match=f"'{field}' needs a rule in braces, such as {field} {{ phase: TRAIN }}"):
        read_network(path)
