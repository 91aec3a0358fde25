"""report.json: where the network came from, and the same text for the same report."""

from __future__ import annotations

import hashlib
import json

from deepmerge.convert import Job, convert
from deepmerge.emit.report import report_text, source_entry
from deepmerge.graph.costs import summary
from deepmerge.plan.discover import Wishes
from deepmerge.read import read_network


def test_a_sources_digest(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_bytes(b"x" * 3_000_000)
    assert source_entry(path) == {"path": str(path), "sha256": hashlib.sha256(b"x" * 3_000_000).hexdigest()}


def test_text():
    report = {"version": 1, "network": "Größe", "steps": []}
    assert report_text(report) == '{\n  "version": 1,\n  "network": "Größe",\n  "steps": []\n}\n'
    assert json.loads(report_text(report)) == report


def test_what_a_conversion_reports(models, tmp_path):
    """The form that scripts rely on."""
    mini = models / "inception_mini"
    pair = mini / "inception_mini.prototxt", mini / "inception_mini.caffemodel"
    report = convert(Job(*pair, tmp_path / "out", Wishes()))
    assert json.loads((tmp_path / "out/report.json").read_text()) == report
    assert list(report)[:5] == ["version", "network", "source", "before", "after"] and report["version"] == 1
    assert report["source"]["caffemodel"] == source_entry(pair[1])
    assert report["before"] == summary(read_network(*pair))
    assert report["after"] == summary(read_network(tmp_path / "out/deploy.prototxt", tmp_path / "out/weights.caffemodel"))
    first = report["steps"][0]
    assert list(first) == ["index", "name", "passes", "exact", "merged", "into", "before", "after"]
    assert (first["index"], first["name"], first["exact"]) == (1, "conv1", False)
    assert first["merged"] == ["conv1/3x3", "pool1/3x3_s2", "pool1/norm1"] and first["into"] == ["conv1/3x3"]
    for one, other in zip(report["steps"], report["steps"][1:], strict=False):
        assert one["after"] == other["before"]
    assert report["steps"][-1]["after"] == report["after"]
    assert {"refusals", "warnings"} <= report.keys()
