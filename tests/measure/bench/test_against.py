from __future__ import annotations

import copy
import json

import pytest

from deepmerge.errors import ReadError
from deepmerge.measure.bench.against import ratios, read_baseline, worse


def network(label, size):
    sizes = {"params": 10 * size, "macs": 100 * size, "storage_bytes": 40 * size}
    return {"label": label, **sizes, "activation_bytes": {"caffe": 3 * size, "unique": 2 * size, "planned": size}}


def report(time=0.5):
    entries = [
        {"label": "a", "refused": None, "ratio": None, "memory": {"peak": 200}},
        {"label": "b", "refused": None, "ratio": {"value": time, "low": time, "high": time}, "memory": {"peak": 100}},
    ]
    return {
        "version": 1,
        "networks": [network("a", 10), network("b", 5)],
        "engines": [{"engine": "ort", "absent": None, "networks": entries}],
    }


def test_ratios():
    found = dict(ratios(report()))
    assert set(found.values()) == {0.5} and len(found) == 8
    assert ("b", "time ort") in found and ("b", "peak memory ort") in found and ("b", "activations planned") in found


def test_worse_by_more_than_the_tolerance():
    assert worse(report(0.52), report(0.5), 0.05) == [] == worse(report(0.3), report(0.5), 0.05)
    assert worse(report(0.53), report(0.5), 0.05) == ["b, time ort: 0.530 times the first network's, was 0.500 (+6.0%)"]
    grown = report()
    grown["networks"][1]["macs"] = 600
    assert worse(grown, report(), 0.05) == ["b, macs: 0.600 times the first network's, was 0.500 (+20.0%)"]


def test_what_is_not_measured_now_is_not_passed_over():
    now = report()
    now["engines"] = [{"engine": "ort", "absent": "gone", "networks": []}]
    assert "b, time ort: was 0.500, is not measured now" in worse(now, report(), 0.05)
    refused = report()
    refused["engines"][0]["networks"][1] = {"label": "b", "refused": "why"}
    assert len(worse(refused, report(), 0.05)) == 2
    assert worse(report(), now, 0.05) == []  # what the baseline did not have can be no worse


def test_another_first_network():
    other = copy.deepcopy(report())
    other["networks"].reverse()
    assert "the first network is 'b', and was 'a'" in worse(other, report(), 0.05)[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "is not a bench report"),
        ('{"version": 2}', "is not a bench report of version 1"),
        ("null", "is not a bench report"),
    ],
)
def test_files_that_are_no_baseline(tmp_path, text, message):
    file = tmp_path / "b.json"
    file.write_text(text)
    with pytest.raises(ReadError, match=message):
        read_baseline(file)


def test_a_baseline_without_networks(tmp_path):
    (tmp_path / "b.json").write_text(json.dumps({"version": 1, "networks": [], "engines": []}))
    with pytest.raises(ReadError, match="damaged"):
        read_baseline(tmp_path / "b.json")


def test_a_damaged_baseline(tmp_path):
    broken = report()
    del broken["networks"][1]["macs"]
    (tmp_path / "b.json").write_text(json.dumps(broken))
    with pytest.raises(ReadError, match="is a damaged bench report"):
        read_baseline(tmp_path / "b.json")
    with pytest.raises(ReadError, match="none.json"):
        read_baseline(tmp_path / "none.json")
    (tmp_path / "b.json").write_text(json.dumps(report()))
    assert read_baseline(tmp_path / "b.json") == report()
