"""model-int8.onnx as one more network: for eval, verify, bench, table, profile, report and Python."""

from __future__ import annotations

import json
import shutil

import numpy as np
import onnxruntime
import pytest

import deepmerge
from deepmerge.errors import EngineError, ReadError

MEAN = np.array((104, 117, 123), np.float32)[:, None, None]
QUICK = ("--repeat", 2, "--measure", "time")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Random pixels, with labels that are their numbers modulo 10."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), np.uint8)
    file = tmp_path_factory.mktemp("photos") / "photos.npz"
    np.savez(file, images=pixels, labels=np.arange(40) % 10)
    return file


@pytest.fixture(scope="module")
def out(models, photos, tmp_path_factory):
    """A conversion with two steps and model-int8.onnx."""
    pair = [models / "inception_mini" / f"inception_mini.{ending}" for ending in ("prototxt", "caffemodel")]
    network, folder = deepmerge.load(*pair), tmp_path_factory.mktemp("int8") / "out"
    plan = network.plan(steps="conv1,conv2", calibration=f"npz:{photos}")
    network.convert(plan, folder, emit=("caffe", "onnx-int8"))
    return folder


@pytest.fixture(scope="module")
def scores(out, photos):
    """What ONNX Runtime itself makes of the file."""
    data = np.moveaxis(np.load(photos)["images"][..., ::-1], 3, 1).astype(np.float32) - MEAN
    session = onnxruntime.InferenceSession(str(out / "model-int8.onnx"))
    return session.run(None, {"data": data})[0].reshape(40, -1)


def test_eval_measures_the_file(run, out, photos, scores):
    report = json.loads(run("eval", out / "model-int8.onnx", "--data", f"npz:{photos}", "--top", 1, "--json").out)
    (entry,) = report["networks"]
    assert entry["onnx"] == str(out / "model-int8.onnx")
    assert entry["top"]["1"] == pytest.approx((scores.argmax(1) == np.arange(40) % 10).mean())


def test_eval_measures_it_beside_the_final_network(run, mini, out, photos, scores):
    report = json.loads(run("eval", out, "--data", f"npz:{photos}", "--top", 1, "--json").out)
    assert [entry["name"] for entry in report["networks"]] == ["int8", "final"]
    top1 = [entry["top"]["1"] for entry in report["networks"][::-1]]
    assert top1[1] == pytest.approx((scores.argmax(1) == np.arange(40) % 10).mean())
    pair = out / "deploy.prototxt", out / "weights.caffemodel"
    assert json.loads(run("eval", *pair, "--data", f"npz:{photos}", "--json").out)["networks"][0]["top"]["1"] == top1[0]
    agreement = json.loads(
        run("eval", out / "model-int8.onnx", "--against", *pair, "--data", f"npz:{photos}", "--json").out
    )
    assert 0.8 < agreement["networks"][0]["agreement"]["top1"] <= 1


def test_limits_judge_the_final_network_or_the_file_that_is_named(run, out, photos):
    words = "--data", f"npz:{photos}", "--json"
    found = {e["name"]: e["top"]["1"] for e in json.loads(run("eval", out, *words).out)["networks"]}
    for name, what in (("final", out), ("int8", out / "model-int8.onnx")):
        least = 100 * found[name]
        assert run("eval", what, *words[:2], "--min-top1", max(least - 0.01, 0)).code == 0
        assert run("eval", what, *words[:2], "--min-top1", least + 0.01).code == 1


def test_commands_end_with_the_next_one_and_without_an_error(run, out, photos):
    """Without --json, too: what comes after the result once failed where it was given a file."""
    pair = out / "deploy.prototxt", out / "weights.caffemodel"
    for words in (
        ("eval", out / "model-int8.onnx", "--data", f"npz:{photos}"),
        ("eval", out, "--data", f"npz:{photos}"),
        ("verify", *pair, out / "model-int8.onnx", "--tolerance", "none"),
        ("table", out, "--seconds", 0.2),
        ("bench", out / "model-int8.onnx", "--engine", "ort", *QUICK),
    ):
        done = run(*words)
        assert done.code == 0 and "deepmerge:" not in done.err, (words, done.err)


def test_other_engines_measure_the_rest(run, out, photos):
    report = json.loads(run("eval", out, "--data", f"npz:{photos}", "--engine", "caffe", "--limit", 3, "--json").out)
    assert [entry["name"] for entry in report["networks"]] == ["final"]
    done = run("eval", out / "model-int8.onnx", "--data", f"npz:{photos}", "--engine", "caffe")
    assert done.code == 1 and "engine 'caffe' does not read ONNX files" in done.line and "use --engine ort" in done.line


def test_verify_compares_it(run, out):
    pair = out / "deploy.prototxt", out / "weights.caffemodel"
    done = run("verify", *pair, out / "model-int8.onnx", "--tolerance", 0.5)
    assert done.code == 0, done.err
    done = run("verify", *pair, out / "model-int8.onnx")
    assert done.code == 1
    assert "this is expected, since B is in int8: `deepmerge eval` measures what it costs" in done.err
    done = run("verify", *pair, out / "model-int8.onnx", "--layers")
    assert done.code == 1 and "gives its outputs alone, so --layers cannot compare it" in done.line
    assert "Missing argument 'B.caffemodel'" in run("verify", *pair, pair[0]).err
    assert "an ONNX file goes without a caffemodel" in run("verify", *pair, out / "model-int8.onnx", pair[1]).err


def test_bench_compares_a_folder_with_its_original(run, out, photos):
    words = "--data", f"npz:{photos}", "--limit", 40, *QUICK
    report = json.loads(run("bench", out, "--engine", "ort,ort-lrn-op,torch", *words, "--json").out)
    labels = ["original", "out", "out, int8"]
    assert [one["label"] for one in report["networks"]] == labels
    for engine in report["engines"][-2:]:
        assert [one["label"] for one in engine["networks"]] == labels
    ort = {one["engine"]: one["networks"] for one in report["engines"]}
    assert all("forward" in ort[name][2] and ort[name][2]["ratio"] for name in ("ort", "ort-lrn-op"))
    assert "engine 'torch' does not read ONNX files" in ort["torch"][2]["refused"]
    assert report["networks"][2]["storage_bytes"] == (out / "model-int8.onnx").stat().st_size
    assert report["networks"][2]["activation_bytes"]["unique"] is None
    assert report["networks"][2]["accuracy"]["top"].keys() == report["networks"][1]["accuracy"]["top"].keys()


def test_bench_times_any_network_in_int8(run, mini):
    words = "--repeat", 2, "--measure", "time,memory", "--json"
    report = json.loads(run("bench", *mini, "--engine", "ort,ort-int8", *words).out)
    floats, int8 = (one["networks"][0] for one in report["engines"])
    assert floats["forward"]["median"] > 0 and int8["forward"]["median"] > 0
    assert floats["memory"]["peak"] > 0
    assert int8["memory"]["not_available"].endswith("its process also quantizes; measure model-int8.onnx")


def test_every_form_of_bench_has_it(run, out, tmp_path):
    words = "bench", f"a={out / 'model-int8.onnx'}", "--engine", "ort", *QUICK
    assert run(*words).out.splitlines()[4].split()[0] == "a"
    assert "| a |" in run(*words, "--markdown").out and "a,ort,forward," in run(*words, "--csv").out
    file = tmp_path / "baseline.json"
    file.write_text(run("bench", out, *QUICK, "--engine", "ort", "--json").out)
    assert run("bench", out, *QUICK, "--engine", "ort", "--against", file, "--tolerance", 100).code == 0


def test_bench_measures_the_operator_lrn_where_there_is_lrn(run, mini, out, monkeypatch):
    measured = []

    def bench(nets, settings, progress):
        measured.append(settings.engines)
        raise EngineError("that is enough")

    monkeypatch.setattr("deepmerge.measure.bench.bench", bench)
    run("bench", *mini)
    run("bench", out / "deploy.prototxt", out / "weights.caffemodel")
    run("bench", *mini, "--engine", "ort")
    assert ["ort-lrn-op" in engines for engines in measured] == [True, False, False]
    assert set(measured[0]) - {"ort-lrn-op"} == set(measured[1])


def test_table_has_a_row_for_it(run, out, photos, scores):
    report = json.loads(run("table", out, "--data", f"npz:{photos}", "--seconds", 0.5, "--top", 1, "--json").out)
    assert [row["step"] for row in report["rows"]] == [None, "conv1", "conv2", "int8"]
    last = report["rows"][-1]
    assert last["top"]["merged"]["1"] == pytest.approx((scores.argmax(1) == np.arange(40) % 10).mean())
    assert last["seconds"]["median"] > 0 and last["speedup"]["low"] <= last["speedup"]["value"]
    text = run("table", out, "--data", f"npz:{photos}", "--limit", 3, "--time-engine", "torch", "--seconds", 0.5).out
    assert [line for line in text.splitlines() if line.split()[:1] == ["int8"]]  # its accuracy, and no time
    rows = json.loads(run("table", out, "--engine", "torch", "--seconds", 0.5, "--json").out)["rows"]
    assert [row["step"] for row in rows] == [None, "conv1", "conv2"]


def test_profile_times_it_as_a_whole(run, out):
    done = run("profile", out / "model-int8.onnx", "--engine", "ort", "--repeat", 2)
    assert done.code == 0 and "ort does not report its layers' times" in done.out


def test_the_page_says_how_far_it_is_from_float32(run, out, tmp_path):
    shutil.copytree(out, tmp_path / "out")
    (tmp_path / "bench.json").write_text(run("bench", out, *QUICK, "--engine", "ort", "--json").out)
    assert run("report", tmp_path / "out", "--bench", tmp_path / "bench.json").code == 0
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Int8 against float32: 20 images held out, calibrated on 20 (average)" in page and "out, int8" in page


def test_a_file_without_its_network_is_refused(run, out, tmp_path):
    alone = tmp_path / "model-int8.onnx"
    shutil.copy(out / "model-int8.onnx", alone)
    with pytest.raises(ReadError, match=r"has no deploy.prototxt beside it.*convert again with caffe in --emit"):
        deepmerge.evaluate(alone, "npz:x")
    with pytest.raises(ReadError, match="no such file"):
        deepmerge.evaluate(tmp_path / "none.onnx", "npz:x")
    assert run("bench", alone).code == 1


def test_a_conversion_reports_it(run, mini, photos, tmp_path):
    words = (
        "convert",
        *mini,
        "--exact",
        "--emit",
        "caffe,onnx-int8",
        "--calibration",
        f"npz:{photos}",
        "-o",
        tmp_path / "a",
    )
    done = run(*words)
    assert done.code == 0 and done.err == ""
    assert "\nint8 against float32 on 20 images held out (average of 20): prob: the same best class for " in done.out
    assert json.loads(run(*words, "--force", "--json").out) == json.loads((tmp_path / "a/report.json").read_text())
    dry = json.loads(run(*words[:-2], "--dry-run", "--json").out)
    assert dry["onnx"] == {"lrn": "written-out"}
