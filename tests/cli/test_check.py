from __future__ import annotations

import json

import pytest

from deepmerge.cli.check import check as command
from deepmerge.formats.write import write_pair
from deepmerge.targets.names import TARGETS
from tests.helpers import conv, inputs, layer, network

BAD = inputs((1, 3, 9, 7)) + layer("a[b]\\n", "ELU", "data") + layer("c", "ELU", "a[b]\\n")


@pytest.fixture
def net(tmp_path):
    def write(text: str):
        (tmp_path / "net.prototxt").write_text(text)
        return tmp_path / "net.prototxt"

    return write


def test_a_network_that_is_taken(run, mini):
    done = run("check", *mini, "--target", "ascend")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("ascend, Huawei Ascend (CANN, ATC), takes this network (from its documentation of 20")
    assert "not tried on the compiler" in done.out


def test_layers_that_are_not_taken(run, net):
    done = run("check", net(BAD), "--target", "sophon")
    assert done.code == 1
    assert r"a[b]\n, c  ELU   type  it does not take the type ELU" in done.out
    assert "not tried on the compiler" in done.out


def test_quiet_says_what_is_wrong_alone(run, net):
    done = run("check", net(BAD), "--target", "sophon", "--target", "ascend", "-q")
    assert (done.code, done.line) == (1, r"sophon: a[b]\n, c (ELU): it does not take the type ELU")
    assert run("check", net(BAD), "--target", "ascend", "-q").err == ""


def test_json(run, net):
    done = run("check", net(BAD), "--target", "sophon", "--target", "ascend", "--json")
    assert done.code == 1
    sophon, ascend = json.loads(done.out)["targets"]
    assert sophon["taken"] is False and ascend["taken"] is True and ascend["problems"] == []
    reason = "it does not take the type ELU"
    wrong = {"type": "ELU", "rule": "type", "reason": reason}
    assert sophon["problems"] == [{"layer": name, **wrong} for name in ("a[b]\n", "c")]
    assert sophon["tried"] is False and sophon["note"].endswith("not tried on the compiler")


def test_what_matters_for_quantizing_alone_is_no_failure(run, net):
    done = run(
        "check", net(inputs((1, 3, 9, 7)) + conv("a", "data", 2, "kernel_size: 3 dilation: 2")), "--target", "ascend"
    )
    assert done.code == 0 and "takes this network" in done.out
    assert "not fit for quantizing (AMCT), because" in done.out and "dilation is 2" in done.out


def test_a_size_by_input(run, net):
    text = 'name: "n" input: "data"\n' + layer("a", "TanH", "data")
    assert run("check", net(text), "--target", "nnie", "--input", "data=1,3,4,4").code == 0
    done = run("check", net(text), "--target", "nnie", "--input", "data=1,2,4,4")
    assert done.code == 1 and "top channels is 2; it takes only 1 or 3" in done.out


def test_a_caffemodel_with_other_types(run, tmp_path):
    text = inputs((1, 4, 9, 7)) + conv("c", "data", 4, "kernel_size: 3 group: 4")
    pair = tmp_path / "a.prototxt", tmp_path / "a.caffemodel"
    write_pair(network(tmp_path, text), *pair)
    assert run("check", *pair, "--target", "ascend").code == 0
    pair[0].write_text(pair[0].read_text().replace('"Convolution"', '"DepthwiseConvolution"'))
    done = run("check", *pair, "--target", "ascend", "--json")
    assert done.code == 1
    reasons = {p["rule"]: p["reason"] for p in json.loads(done.out)["targets"][0]["problems"]}
    assert list(reasons) == ["same-layers", "group-depthwise"]
    assert reasons["same-layers"] == "the caffemodel stores it as a Convolution"


@pytest.mark.parametrize("words", [("--target", "asced"), ()])
def test_usage(run, mini, words):
    done = run("check", mini[0], *words)
    assert done.code == 2
    assert all(name in done.err for name in TARGETS) or not words


def test_the_choices_are_the_files():
    (option,) = (p for p in command.params if p.name == "targets")
    assert tuple(option.type.choices) == TARGETS
