"""A conversion's table: which networks stand in it, and what is measured of them."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pytest

from deepmerge.engines import engine
from deepmerge.errors import EngineError, GraphError, ReadError
from deepmerge.formats.read import read_network
from deepmerge.formats.write import write_caffemodel
from deepmerge.measure.steps import Job, run
from deepmerge.out.write import Settings
from deepmerge.plan.plan import Wishes
from tests.conversion import Job as ConvertJob
from tests.conversion import convert

PIXELS = np.random.default_rng(1).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
MEAN = np.array((104, 117, 123), np.float32)[:, None, None]


def best(prototxt, caffemodel) -> np.ndarray:
    """The classes that a network chooses, from ONNX Runtime itself: no code of what is tested here."""
    data = np.moveaxis(PIXELS[..., ::-1], 3, 1).astype(np.float32) - MEAN
    with engine("ort").load(read_network(prototxt, caffemodel)) as session:
        return session.forward({"data": data})["prob"].reshape(len(PIXELS), -1).argmax(1)


@pytest.fixture(scope="module")
def made(tmp_path_factory, models):
    """out/: two steps. again/: the same with other weights in the second step and the end. images: labelled by the original."""
    folder = tmp_path_factory.mktemp("table")
    pair = [models / "inception_mini" / f"inception_mini.{ending}" for ending in ("prototxt", "caffemodel")]
    convert(ConvertJob(*pair, folder / "out", Wishes(steps="conv1,conv2"), settings=Settings(step_weights=True)))
    shutil.copytree(folder / "out", folder / "again")
    for place in ("steps/02-conv2", "."):
        here = folder / "again" / place
        graph = read_network(here / "deploy.prototxt", here / "weights.caffemodel")
        graph.layer("conv2/3x3").weights = [array * np.float32(0.8) for array in graph.layer("conv2/3x3").weights]
        write_caffemodel(graph, here / "new")  # the graph's arrays are views on the file itself
        (here / "new").replace(here / "weights.caffemodel")
    report = json.loads((folder / "again/report.json").read_text())
    (folder / "again/report.json").write_text(json.dumps({**report, "recovery": {"stages": []}}))
    np.savez(folder / "images.npz", images=PIXELS, labels=best(*pair))
    return folder


def test_accuracy_step_by_step(made):
    report = run(Job([made / "out", made / "again"], data=f"npz:{made}/images.npz", top=(1,), seconds=0))
    labels = np.load(made / "images.npz")["labels"]
    assert [column["title"] for column in report["columns"]] == ["merged", "recovered"] and report["images"] == 40
    assert [row["step"] for row in report["rows"]] == [None, "conv1", "conv2"]
    first, conv1, conv2 = report["rows"]
    assert first["top"] == {"original": {1: 1.0}} and first["index"] == 0
    assert conv1["top"].keys() == {"merged"}, "the very same network is not measured twice"
    for row, column, place in (
        (conv1, "merged", "out/steps/01-conv1"),
        (conv2, "merged", "out"),
        (conv2, "recovered", "again"),
    ):
        wanted = (best(made / place / "deploy.prototxt", made / place / "weights.caffemodel") == labels).mean()
        assert row["top"][column][1] == pytest.approx(wanted)
    assert conv2["merged"] == ["conv2/3x3", "conv2/norm2", "pool2/3x3_s2"] and conv2["seconds"] is None


def test_a_final_network_of_its_own_has_a_row(made, tmp_path):
    shutil.copytree(made / "out", tmp_path / "tuned")
    shutil.copy(made / "again/weights.caffemodel", tmp_path / "tuned")
    report = run(
        Job([made / "out", tmp_path / "tuned"], titles=["", "tuned"], data=f"npz:{made}/images.npz", seconds=0)
    )
    assert [row["step"] for row in report["rows"]] == [None, "conv1", "conv2", "all"]
    assert [set(row["top"]) for row in report["rows"]] == [{"original"}, {"merged"}, {"merged"}, {"tuned"}]


def test_times_are_ratios_to_the_original(made):
    report = run(Job([made / "out"], seconds=0.3))
    assert report["rows"][0]["top"] is None and report["images"] is None
    assert [row["seconds"]["median"] > 0 for row in report["rows"]] == [True] * 3
    assert report["rows"][0]["speedup"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert all(row["speedup"]["low"] <= row["speedup"]["value"] <= row["speedup"]["high"] for row in report["rows"])
    json.dumps(report)


def test_a_file_in_int8_that_the_engine_refuses_is_not_timed(made, tmp_path):
    shutil.copytree(made / "out", tmp_path / "out")
    (tmp_path / "out/model-int8.onnx").write_bytes(b"no model")
    report = run(Job([tmp_path / "out"], seconds=0.3))
    assert [row["step"] for row in report["rows"]] == [None, "conv1", "conv2", "int8"]
    assert [row["seconds"] is None for row in report["rows"]] == [False, False, False, True]
    assert report["rows"][-1]["speedup"] is None
    (warning,) = report["warnings"]
    file = tmp_path / "out/model-int8.onnx"
    assert warning.startswith(f"{file} is left out of the times: ONNX Runtime cannot load the network: ")


def test_strict_fails_on_what_is_not_timed(made, monkeypatch):
    monkeypatch.setattr("deepmerge.measure.steps.job.step_times", lambda *_: ({}, ["it is left out"]))
    assert run(Job([made / "out"], seconds=1))["warnings"] == ["it is left out"]
    with pytest.raises(GraphError, match="--strict: it is left out"):
        run(Job([made / "out"], seconds=1, strict=True))


def test_folders_that_do_not_belong_together(made, models, tmp_path):
    pair = [models / "inception_mini" / f"inception_mini.{ending}" for ending in ("prototxt", "caffemodel")]
    convert(ConvertJob(*pair, tmp_path / "one", Wishes(steps="conv1")))
    with pytest.raises(ReadError, match="has other steps than"):
        run(Job([made / "out", tmp_path / "one"], seconds=0, data="npz:x"))
    report = json.loads((tmp_path / "one/report.json").read_text())
    report["source"]["caffemodel"]["sha256"] = "0" * 64
    (tmp_path / "one/report.json").write_text(json.dumps(report))
    with pytest.raises(ReadError, match="was made from another network than"):
        run(Job([made / "out", tmp_path / "one"], seconds=0, data="npz:x"))
    convert(ConvertJob(*pair, tmp_path / "exact", Wishes(exact=True)))
    with pytest.raises(ReadError, match="no approximate step"):
        run(Job([tmp_path / "exact"]))


def test_what_cannot_be_measured(made, tmp_path):
    np.savez(tmp_path / "bare.npz", images=PIXELS)
    job = Job([made / "out"], data=f"npz:{tmp_path}/bare.npz", seconds=0)
    with pytest.raises(ReadError, match="has no labels.*deepmerge eval OUT --steps"):
        run(job)
    with pytest.raises(EngineError, match="there is no engine|not installed"):
        run(dataclasses.replace(job, data="", seconds=1, time_engine="abacus"))
