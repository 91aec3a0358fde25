from __future__ import annotations

import pytest

from deepmerge.cli.options import PLANNING
from deepmerge.passes.support.base import Options
from deepmerge.plan import Wishes


@pytest.fixture
def wishes(run, mini, monkeypatch):
    """The planning options' words → what the library is asked for."""
    asked = []
    from deepmerge.api import network

    original = network.make_plan
    monkeypatch.setattr(
        network, "make_plan", lambda graph, one, *more: asked.append(one) or original(graph, one, *more)
    )

    def wishes(*words) -> Wishes:
        done = run("plan", mini[0], "-q", *words)
        assert done.code == 0, done.err
        return asked[-1]

    return wishes


def test_the_defaults_are_the_librarys(wishes):
    assert wishes() == Wishes(options=Options())


@pytest.mark.parametrize(
    "words, expected",
    [
        ("--exact", Wishes(exact=True)),
        ("--exact --width full --steps all", Wishes(exact=True, options=Options(width="full"))),
        ("--steps conv2,inception_3a-3b", Wishes(steps="conv2,inception_3a-3b")),
        ("--absorb pooling,lrn", Wishes(options=Options(absorb=("pooling", "lrn")))),
        ("--absorb=", Wishes(options=Options(absorb=()))),
        ("--keep LRN,conv1/3x3,LRN", Wishes(options=Options(keep=frozenset({"LRN", "conv1/3x3"})))),
        ("--width 0.75", Wishes(options=Options(width=0.75))),
        ("--width full", Wishes(options=Options(width="full"))),
        ("--kernel cover --init xavier", Wishes(options=Options(kernel="cover", init="xavier"))),
        ("--tucker --rank ratio:0.5", Wishes(tucker=True, options=Options(rank="ratio:0.5"))),
        ("--tucker", Wishes(tucker=True)),
    ],
)
def test_what_is_asked_for(wishes, words, expected):
    assert wishes(*words.split()) == expected


@pytest.mark.parametrize("command", ["plan", "convert"])
@pytest.mark.parametrize(
    "words, expected",
    [
        ("--width 0", "'0' is neither a number above 0 and up to 1 nor 'full'"),
        ("--width half", "'half' is neither a number above 0 and up to 1 nor 'full'"),
        ("--width nan", "'nan' is neither"),
        ("--kernel covers", "'covers' is not one of 'keep', 'cover'"),
        ("--init random", "'random' is not one of 'trained', 'xavier'"),
        ("--absorb lrn,branch", "'branch' is not one of lrn, pooling, branches; did you mean 'branches'?"),
        ("--rank energy:2 --tucker", "'energy:2' is none of vbmf, energy:SHARE, ratio:SHARE and macs:SHARE"),
        ("--rank vbmf:1 --tucker", "'vbmf:1' is none of"),
        ("--steps=", "give one word or more"),
        ("--steps=,", "give one word or more"),
        ("--exact --tucker", "--exact and --tucker exclude each other"),
        ("--exact --steps conv1", "--exact takes no approximate steps"),
        ("--rank vbmf", "--rank has no effect without --tucker; add --tucker"),
    ],
)
def test_values_that_will_not_do_are_usage_errors(run, mini, command, words, expected):
    done = run(command, *mini, *words.split(), *(["--dry-run"] if command == "convert" else []))
    assert done.code == 2 and done.out == ""
    assert expected in done.err.splitlines()[-1]


@pytest.mark.parametrize(
    "words, expected",
    [
        ("--steps inception_9", "--steps: there is no step 'inception_9'; did you mean 'inception_4a'"),
        ("--steps inception_4a-3a", "--steps: 'inception_4a-3a' runs backwards"),
        (
            "--keep conv1/3x4",
            "--keep: the network 'InceptionMini' has no layer or type 'conv1/3x4'; did you mean 'conv1/3x3'",
        ),
    ],
)
def test_names_that_the_network_has_not_are_failures_with_candidates(run, mini, words, expected):
    done = run("plan", mini[0], *words.split())
    assert done.code == 1
    assert done.line.startswith(f"deepmerge: {expected}"), done.line


def test_planning_options_are_all_in_wishes():
    fields = set(Wishes.__dataclass_fields__) | set(Options.__dataclass_fields__)
    assert set(PLANNING) <= fields and fields - set(PLANNING) == {
        "options",
        "costly",
        "ranks",
        "channels",
        "calibration",
        "moments",
        "target",
    }


NET = """name: "net"
layer { name: "d" type: "Data" top: "data" top: "label" }
layer { name: "conv=1" type: "Convolution" bottom: "data" top: "a=b" convolution_param { num_output: 2 kernel_size: 3 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "a=b" bottom: "label" }
"""


@pytest.fixture
def net(tmp_path):
    (tmp_path / "net.prototxt").write_text(NET)
    return tmp_path / "net.prototxt"


@pytest.mark.parametrize("command", ["inspect", "plan", "profile --engine ort --seconds 0.1 --repeat 2", "bench --engine ort --measure memory"])  # fmt: skip
def test_sizes_of_inputs_for_a_prototxt(run, net, command):
    first, *words = command.split()
    done = run(first, net, *words)
    assert done.code == 1 and done.line.endswith("give its size: --input data=1,3,H,W")
    done = run(first, net, *words, "--json", "--input", "data=3,9,8")
    assert done.code == 0 and done.err.count("Traceback") == 0, done.err
    assert run(first, net, *words, "--input", "dat=3,9,8").line.endswith("has no input 'dat'; did you mean 'data'?")


def test_sizes_of_inputs_for_a_network_and_its_conversion(run, net, tmp_path, mini):
    """eval, verify, table, report, recover and finetune read the original by OUT's report, or by the option."""
    train = tmp_path / "train.prototxt"
    text = mini[0].read_text()
    train.write_text(NET.splitlines()[1] + text[text.index('layer {\n  name: "conv1/3x3"') :])
    done = run("convert", train, mini[1], "-o", tmp_path / "out", "--steps", "conv1", "--input", "data=3,32,32", "-q")
    assert done.code == 0, done.err
    pair = tmp_path / "out/deploy.prototxt", tmp_path / "out/weights.caffemodel"
    done = run("verify", train, mini[1], *pair, "--tolerance", "none", "--random", "1", "--input", "data=1,3,32,32")
    assert done.code == 0, done.err
    assert run("verify", train, mini[1], *pair, "--random", "1").line.endswith("give its size: --input data=1,3,H,W")
    for words in (("report", tmp_path / "out", "--force"), ("table", tmp_path / "out", "--seconds", "0.1")):
        done = run(*words)
        assert done.code == 0, done.err
        assert "cannot be drawn" not in done.out
        assert run(*words, "--input", "dat=3,8,8").line.endswith("has no input 'dat'; did you mean 'data'?")


@pytest.mark.parametrize("value", ["data", "data=", "=3", "data=3,0,1", "data=3,x", "data=3.5", "data=²", "data=-1,3"])
def test_what_is_no_size_of_an_input(run, net, value):
    done = run("inspect", net, "--input", value)
    assert done.code == 2 and "is not NAME=N,C,H,W with whole numbers from 1 on" in done.err


def test_two_sizes_for_one_input(run, net):
    done = run("inspect", net, "--input", "data=3,9,9", "--input", "data=3,8,8")
    assert done.code == 2 and "'data' is given twice; keep one of them" in done.err


def test_a_name_may_have_an_equals_sign(run, net):
    net.write_text(NET.replace('"data"', '"da=ta"'))
    assert '"tops"' in run("inspect", net, "--json", "--input", "da=ta=3,9,8").out
