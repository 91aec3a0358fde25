"""Each row of tests/pitfalls.toml has a test, and the table shows its outcome."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pitfall_table import SHOWN, TITLES, WHOLE

SAMPLE = """
import pytest

@pytest.mark.pitfall("row", 1)
@pytest.mark.parametrize("n", [1, pytest.param(2, marks=pytest.mark.pitfall("fold", 3))])
def test_good(n):
    pass

@pytest.mark.pitfall("row", 2)
def test_bad():
    assert False

@pytest.mark.pitfall("row", 2)
@pytest.mark.pitfall("row", 4)
def test_skipped():
    pytest.skip("no real Caffe here")

def test_of_no_row():
    assert False
"""


def run(folder: Path, text: str) -> subprocess.CompletedProcess:
    (folder / "test_sample.py").write_text(text)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-c",
        os.devnull,
        "--rootdir",
        folder,
        "-p",
        "tests.pitfall_table",
        "--pitfalls",
        folder,
    ]
    return subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    )


def test_every_row_has_a_test(request):
    if not request.config.stash[WHOLE]:
        pytest.skip("only a part of the tests was collected")
    snapshots = {("row", 13)} if importlib.util.find_spec("h5py") is None else set()
    assert sorted(TITLES.keys() - request.config.stash[SHOWN] - snapshots) == []


def test_rows_are_numbered():
    assert [number for table, number in TITLES if table == "row"] == list(range(1, 35))
    assert [number for table, number in TITLES if table == "fold"] == list(range(1, 16))


def test_the_table(tmp_path):
    done = run(tmp_path, SAMPLE)
    lines = dict(
        zip(
            TITLES,
            [line for line in done.stdout.splitlines() if line.lstrip().startswith(("row ", "fold "))],
            strict=True,
        )
    )
    ends = {row: line.split(TITLES[row])[1].split(maxsplit=1) for row, line in lines.items()}
    assert ends["row", 1] == ["2", "pass"] and ends["fold", 3] == ["1", "pass"]
    assert ends["row", 2] == ["2", "FAIL: 1 failed"]
    assert ends["row", 4] == ["1", "FAIL: 1 skipped: no real Caffe here"]
    assert ends["row", 5] == ["0", "FAIL: no test"]
    assert "1 of 34 rows and 1 of 15 folds pass" in done.stdout and done.returncode == 1


def test_rows_without_a_test_fail(tmp_path):
    assert run(tmp_path, SAMPLE.replace("assert False", "pass").replace("pytest.skip", "print")).returncode == 1


def test_no_such_row(tmp_path):
    done = run(tmp_path, SAMPLE.replace('"row", 4', '"row", 35'))
    assert "pitfall('row', 35) is no row of tests/pitfalls.toml" in done.stdout + done.stderr and done.returncode != 0
