"""deepmerge doctor: its table, its JSON and its exit codes."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from deepmerge import doctor as doctor_of_the_package
from deepmerge.cli import main
from deepmerge.doctor import Check

ALL_WELL = [
    Check("numpy", "ok", "2.0", details={"version": "2.0"}),
    Check("engine caffe", "ok", "Caffe 1.0", details={"types": ["Conv", "LRN"]}),
    Check("h5py", "absent", "not installed", "pip install h5py"),
    Check("PyPI's 'deepmerge'", "warning", "is installed", "pip uninstall deepmerge"),
]


@pytest.fixture
def doctor(monkeypatch):
    def run(checks, *options):
        monkeypatch.setattr("deepmerge.doctor.examine", lambda _progress: checks)
        return CliRunner().invoke(main, ["doctor", *options])

    return run


def test_all_well(doctor):
    result = doctor(ALL_WELL)
    assert result.exit_code == 0 and result.stderr == ""
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["ok", "ok", "-", "->", "warning", "->"]
    assert "pip install h5py" in result.stdout and "LRN" not in result.stdout
    assert "Conv LRN" in doctor(ALL_WELL, "-v").stdout
    assert doctor(ALL_WELL, "-q").output == ""


def test_something_needed_is_missing(doctor):
    checks = [*ALL_WELL, Check("onnx", "missing", "not installed", "pip install onnx")]
    result = doctor(checks)
    assert result.exit_code == 1
    assert result.stderr == "deepmerge: missing or not working: onnx\n"
    result = doctor(checks, "--json")
    assert result.exit_code == 1 and json.loads(result.stdout)["ok"] is False


def test_json(doctor):
    result = doctor(ALL_WELL, "--json")
    report = json.loads(result.stdout)
    assert result.exit_code == 0 and report["ok"] is True
    assert report["checks"][0] == {
        "name": "numpy",
        "state": "ok",
        "found": "2.0",
        "remedy": "",
        "details": {"version": "2.0"},
    }


def test_on_this_machine(monkeypatch):
    """Real Caffe is looked for elsewhere (tests/doctor/test_doctor.py): that takes longest."""
    monkeypatch.setattr("deepmerge.doctor.caffe", lambda: Check("engine caffe", "absent", "not looked for"))
    result = CliRunner().invoke(main, ["doctor", "--json"])
    assert result.exit_code == 0, result.output
    checks = {check["name"]: check for check in json.loads(result.stdout)["checks"]}
    assert checks["engine ort"]["details"]["providers"]
    assert all(
        checks[name]["state"] == "ok" for name in ("numpy", "protobuf", "onnx", "onnxruntime", "pillow", "schema")
    )


def test_progress_counts_the_checks(monkeypatch):
    for slow in ("ort", "caffe", "torch"):
        monkeypatch.setattr(f"deepmerge.doctor.{slow}", lambda: Check("engine", "absent", "not looked for"))
    seen = []
    found = doctor_of_the_package.examine(lambda *now: seen.append(now))
    assert seen == [("checks", done, len(found)) for done in range(len(found))]
