"""report.json: where the network came from, and the same text for the same report."""

from __future__ import annotations

import hashlib
import json

import pytest

from deepmerge.formats.read import read_network
from deepmerge.formats.read.prototxt import parse
from deepmerge.graph.costs import summary
from deepmerge.out.report import report_text, source_entry, transforms, write_report
from deepmerge.plan.plan import Wishes
from tests.conversion import Job, convert


def test_a_sources_digest(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_bytes(b"x" * 3_000_000)
    assert source_entry(path) == {"path": str(path), "sha256": hashlib.sha256(b"x" * 3_000_000).hexdigest()}


def test_text():
    report = {"version": 1, "network": "Größe", "steps": []}
    assert report_text(report) == '{\n  "version": 1,\n  "network": "Größe",\n  "steps": []\n}\n'
    assert json.loads(report_text(report)) == report


def test_a_report_is_written_as_utf8(tmp_path):
    report = {"version": 1, "network": "Größe \udcff"}
    write_report(tmp_path, report)
    (file,) = tmp_path.iterdir()
    assert file.name == "report.json" and json.loads(file.read_bytes()) == report
    assert file.read_bytes() == '{\n  "version": 1,\n  "network": "Größe \\udcff"\n}\n'.encode()


def test_what_a_conversion_reports(models, tmp_path):
    """The form that scripts rely on."""
    mini = models / "inception_mini"
    pair = mini / "inception_mini.prototxt", mini / "inception_mini.caffemodel"
    report = convert(Job(*pair, tmp_path / "out", Wishes()))
    assert json.loads((tmp_path / "out/report.json").read_text()) == report
    assert list(report)[:5] == ["version", "network", "source", "before", "after"] and report["version"] == 1
    assert report["source"]["caffemodel"] == source_entry(pair[1])
    assert report["before"] == summary(read_network(*pair))
    assert report["after"] == summary(
        read_network(tmp_path / "out/deploy.prototxt", tmp_path / "out/weights.caffemodel")
    )
    first = report["steps"][0]
    assert list(first) == ["index", "name", "passes", "exact", "merged", "into", "before", "after"]
    assert (first["index"], first["name"], first["exact"]) == (1, "conv1", False)
    assert first["merged"] == ["conv1/3x3", "pool1/3x3_s2", "pool1/norm1"] and first["into"] == ["conv1/3x3"]
    for one, other in zip(report["steps"], report["steps"][1:], strict=False):
        assert one["after"] == other["before"]
    assert report["steps"][-1]["after"] == report["after"]
    assert {"refusals", "warnings"} <= report.keys()


@pytest.mark.pitfall("row", 31)
def test_what_is_done_to_images():
    layers = """
    layer { name: "train" type: "Data" top: "data" top: "label" include { phase: TRAIN }
      transform_param { mirror: true crop_size: 227 mean_file: "mean.binaryproto" scale: 0.00390625 } }
    layer { name: "val" type: "Data" top: "data" include { phase: TEST } transform_param { mean_value: 104 mean_value: 117.5 mirror: false } }
    layer { name: "fork" type: "AnnotatedData" top: "d" transform_param { mean_value: 1e39 resize_param { height: 300 interp_mode: LINEAR interp_mode: AREA } } }
    layer { name: "bare" type: "Data" top: "e" }
    layer { name: "relu" type: "ReLU" bottom: "data" top: "relu" transform_param { scale: 2 } }
    """
    found = transforms(parse(layers).values("layer"))
    resize = {"height": 300, "interp_mode": ["LINEAR", "AREA"]}
    assert found == [
        {
            "layer": "train",
            "phases": ["TRAIN"],
            "mirror": True,
            "crop_size": 227,
            "mean_file": "mean.binaryproto",
            "scale": 0.00390625,
        },
        {"layer": "val", "phases": ["TEST"], "mean_value": [104, 117.5], "mirror": False},
        {"layer": "fork", "phases": ["TRAIN", "TEST"], "mean_value": [1e39], "resize_param": resize},
    ]


@pytest.mark.pitfall("row", 31)
@pytest.mark.parametrize("how", ["prototxt", "train_val"])
def test_a_conversion_reports_it(how, models, tmp_path):
    mini = models / "inception_mini"
    pair = mini / "inception_mini.prototxt", mini / "inception_mini.caffemodel"
    given = tmp_path / "train_val.prototxt"
    given.write_text(
        (mini / "train_val.prototxt").read_text().replace("mean_value: 104", "crop_size: 32 mean_value: 104")
    )
    job = Job(given, pair[1], tmp_path / "out") if how == "prototxt" else Job(*pair, tmp_path / "out", train_val=given)
    convert(job)
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert {tuple(entry["phases"]): (entry["crop_size"], entry["mean_value"]) for entry in report["transform"]} == {
        ("TRAIN",): (32, [104, 117, 123]),
        ("TEST",): (32, [104, 117, 123]),
    }
    assert convert(Job(*pair, tmp_path / "bare", dry_run=True))["transform"] == []
