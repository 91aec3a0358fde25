from __future__ import annotations

import json

import pytest

from deepmerge.errors import EngineError

QUICK = ("--repeat", 2)


def test_a_table_for_each_engine(run, mini):
    done = run("profile", f"one={mini[0]}", mini[1], mini[0], "--engine", "ort", *QUICK)
    assert done.code == 0 and all("waited for a core" in line for line in done.err.splitlines())
    head, note, totals, rows = done.out.rstrip("\n").split("\n\n")
    assert "1 thread per engine" in head and "load average" in head
    assert note == "inception_mini: no caffemodel given, random weights (seeded); use the times only"
    assert totals.splitlines()[0].split()[:2] == ["ort", "forward,"] and "non-tensor" in totals and "unfused" in totals
    assert [line.split()[0] for line in totals.splitlines()[2:]] == ["one", "inception_mini"]
    assert rows.splitlines()[0].split() == ["ort,", "group", "one,", "ms", "share", "inception_mini,", "ms", "share"]
    found = [line.split()[0] for line in rows.splitlines()[2:]]
    assert found[:6] == ["conv1", "conv2", "inception_3a", "inception_3b", "inception_4a", "loss3"]


def _refuse(word):
    raise AssertionError(f"{word} is no JSON")


@pytest.mark.parametrize("by", ["type", "layer"])
def test_other_rows(run, mini, by):
    out = run("profile", *mini, "--engine", "ort", "--by", by, *QUICK).out
    lines = [line.split() for line in out.split("\n\n")[-1].splitlines()]
    assert ["ort,", by, "kind", "inception_mini,", "ms", "share"] in lines
    kinds = {line[0]: line[1] for line in lines[2:]}
    assert kinds["LRN" if by == "type" else "conv2/norm2"] == "non-tensor"
    assert kinds["Convolution" if by == "type" else "conv2/3x3"] == "tensor"


def test_json_and_batch(run, mini):
    report = json.loads(
        run("profile", *mini, "--engine", "ort", "--batch", 3, "--json", *QUICK).out, parse_constant=_refuse
    )
    assert list(report) == ["version", "machine", "load_after", "settings", "networks", "engines"]
    assert report["networks"][0]["inputs"] == {"data": [3, 3, 32, 32]}
    entry = report["engines"][0]["networks"][0]
    assert entry["forward"]["count"] == 2 and len(entry["layers"]) == 57


def test_engines_that_are_absent_are_listed(run, mini, monkeypatch):
    monkeypatch.setenv("DEEPMERGE_CAFFE_PYTHON", "/nowhere/python")
    done = run("profile", *mini, "--engine", "caffe,ort", *QUICK)
    assert done.code == 0
    assert (
        done.out.rstrip("\n")
        .splitlines()[-1]
        .startswith("caffe   DEEPMERGE_CAFFE_PYTHON=/nowhere/python: does not exist")
    )


@pytest.mark.parametrize("command", ["profile", "bench"])
def test_nothing_that_was_measured_is_an_error(run, mini, monkeypatch, command):
    """After the result, which says the same of each engine."""
    monkeypatch.setenv("DEEPMERGE_CAFFE_PYTHON", "/nowhere/python")
    done = run(command, *mini, "--engine", "caffe", *QUICK)
    why = "DEEPMERGE_CAFFE_PYTHON=/nowhere/python: does not exist"
    assert done.code == 1 and why in done.out
    assert done.err.startswith(f"deepmerge: no engine has run a network: caffe: {why}") and done.err.count("\n") == 1


def test_a_network_that_every_engine_refuses():
    from deepmerge.cli.network_options import require_measured

    refused, measured = {"label": "a", "refused": "no LRN"}, {"label": "b", "refused": None}
    report = {"engines": [{"engine": "ort", "absent": None, "networks": [refused]}]}
    with pytest.raises(EngineError, match="no engine has run a network: ort: no LRN$"):
        require_measured(report)
    report["engines"].append({"engine": "mnn", "absent": "mnn needs MNN", "networks": []})
    with pytest.raises(EngineError, match=r"no engine has run a network: mnn: mnn needs MNN \(and 1 more\)"):
        require_measured(report)
    report["engines"][0]["networks"].append(measured)
    require_measured(report)


def test_a_chart(run, mini, tmp_path):
    pytest.importorskip("matplotlib")
    assert run("profile", *mini, "--engine", "ort", "--chart", tmp_path / "c.png", *QUICK).code == 0
    assert (tmp_path / "c.png").read_bytes()[:4] == b"\x89PNG"


def test_words_that_make_no_network(run, mini):
    done = run("profile", mini[1])
    assert done.code == 2 and "are weights; give them after their PROTOTXT" in done.err
    done = run("profile", mini[0], "--engine", "ort,nonsense")
    assert done.code == 2 and "'nonsense' is not one of" in done.err
    assert run("profile").code == 2
    assert "no-such.prototxt" in run("profile", "no-such.prototxt").line


def test_a_busy_machine_is_warned_of():
    from deepmerge.cli.profile import waiting

    engines = [
        {"engine": "a", "networks": [{"waited": 0.02}, {"waited": None}]},
        {"engine": "b", "networks": [{"waited": 0.5}, {}]},
    ]
    assert waiting({"engines": engines}) == [
        "b: networks waited for a core 50% of the time, and the layers' times include it; measure on a quieter machine"
    ]
