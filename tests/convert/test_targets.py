"""convert and plan for a target: what is written is what it takes, and what is not is said."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

import deepmerge
from deepmerge.errors import PassError, PlanError
from deepmerge.formats.write import write_pair
from deepmerge.graph.shapes import infer_shapes
from deepmerge.passes.join_siblings import JoinSiblings
from deepmerge.passes.support.base import Options
from tests.helpers import conv, inputs, layer, network, relu

DOCS = Path(__file__).parents[2] / "docs/schemas"
# A BatchNorm that nothing takes up, a depthwise layer, and tops called otherwise
TEXT = inputs((1, 3, 12, 10)) + relu("data", "r").replace('top: "data"', 'top: "x"')
TEXT += layer("bn", "BatchNorm", "x", tops="y")
TEXT += 'layer { name: "d" type: "DepthwiseConvolution" bottom: "y" top: "z" convolution_param { num_output: 3 kernel_size: 3 kernel_size: 1 pad: 1 pad: 0 } }\n'
TEXT += conv("c", "z", 4) + relu("c") + layer("p", "Pooling", "c", "kernel_size: 3 stride: 2")
TEXT += layer("ip", "InnerProduct", "p", "num_output: 5")


@pytest.fixture
def net(tmp_path) -> deepmerge.Network:
    pair = tmp_path / "net.prototxt", tmp_path / "net.caffemodel"
    write_pair(network(tmp_path, TEXT), tmp_path / "a.prototxt", pair[1])
    pair[0].write_text(TEXT)
    return deepmerge.load(*pair)


@pytest.mark.parametrize("target", ["atlas500", "sophon"])
def test_the_files_are_taken(net, tmp_path, target):
    assert not net.check(target)["targets"][0]["taken"]
    report = net.convert(net.plan(target=target, keep=["bn"]), tmp_path / "out").report
    made = deepmerge.load(tmp_path / "out/deploy.prototxt", tmp_path / "out/weights.caffemodel")
    (answer,) = made.check(target)["targets"]
    assert answer["taken"] and answer["problems"] == report["target"]["problems"] == []
    assert report["target"]["name"] == target and report["warnings"] == []


def test_what_is_still_not_taken_is_a_warning(net, tmp_path):
    report = net.convert(net.plan(target="nnie"), tmp_path / "out").report
    assert report["warnings"] == [] and made_types(tmp_path / "out")["bn"] == "BatchNorm"
    assert any(r["layer"] == "bn" and r["reason"].startswith("nnie would not take 'bn'") for r in report["refusals"])
    report = net.convert(net.plan(target="rknn2", keep=["d"]), tmp_path / "other").report
    text = "rknn2 does not take 'd' (DepthwiseConvolution): DepthwiseConvolution is not among the types"
    (warning,) = report["warnings"]
    assert warning.startswith(text) and warning.endswith("not tried on the compiler)")
    with pytest.raises(PassError, match="--strict: rknn2 does not take 'd'"):
        net.convert(net.plan(target="rknn2", keep=["d"]), tmp_path / "third", strict=True)
    assert not (tmp_path / "third").exists()


def made_types(out: Path) -> dict[str, str]:
    return {layer.name: layer.type for layer in deepmerge.load(out / "deploy.prototxt").layers}


def test_a_recipe_keeps_its_target(net, tmp_path):
    first = net.convert(net.plan(target="nnie"), tmp_path / "out").report
    again = net.convert(net.plan(recipe=tmp_path / "out/recipe.toml"), tmp_path / "again").report
    assert again["target"] == first["target"]
    for name in ("recipe.toml", "deploy.prototxt", "weights.caffemodel"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    other = net.convert(net.plan(recipe=tmp_path / "out/recipe.toml", target="ascend")).report
    assert other["target"]["name"] == "ascend"


def test_a_recipe_for_a_target_that_does_not_exist(net, tmp_path):
    (tmp_path / "r.toml").write_text('version = 1\ntarget = "asced"\n')
    with pytest.raises(PlanError, match="r.toml: target: there is no target 'asced'; did you mean 'ascend'"):
        net.plan(recipe=tmp_path / "r.toml")
    with pytest.raises(PlanError, match="there is no target 'asced'"):
        net.plan(target="asced")


def test_the_report_is_as_its_schema_says(net, tmp_path):
    net.convert(net.plan(target="rknn2", keep=["d"]), tmp_path / "out")
    report = json.loads((tmp_path / "out/report.json").read_text())
    jsonschema.validate(report, json.loads((DOCS / "report.schema.json").read_text()))
    assert len(report["target"]["problems"]) == 1


def test_a_plan_says_the_same(net):
    plan = net.plan(target="nnie").to_dict()
    assert plan["target"]["name"] == "nnie" and plan["target"]["problems"] == []
    assert "target" not in net.plan().to_dict()


def test_a_slice_that_the_target_would_not_take_is_not_made(tmp_path):
    text = inputs((1, 3, 8, 8)) + "".join(conv(name, "data", 8, "kernel_size: 3") for name in "ab")
    graph, refusals = network(tmp_path, text + layer("both", "Eltwise", "a b")), []
    free, bound = (
        JoinSiblings(Options(target=target)).look(graph, graph.layer("a"), infer_shapes(graph), refusals)
        for target in ("", "nnie")
    )
    assert free is not None and bound is None
    assert [refusal.layer for refusal in refusals] == ["a"] and "a_joined_slice" in refusals[0].reason
