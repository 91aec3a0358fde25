"""A real Dask scheduler with two worker processes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deepmerge.cli.zoo_options import run_convert
from deepmerge.errors import EngineError
from deepmerge.zoo.dask import cluster
from tests.cli.conftest import run  # noqa: F401  (a fixture)
from tests.zoo.conftest import trees, write_model
from tests.zoo.processes import descendants

pytest.importorskip("distributed")
ROOT = Path(__file__).resolve().parents[2]


def start(folder: Path, name: str, *words: str) -> subprocess.Popen:
    """One of Dask's commands, in a folder of its own."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "DASK_DISTRIBUTED__ADMIN__LOW_LEVEL_LOG_LENGTH": "0"}
    command = [sys.executable, "-m", f"distributed.cli.dask_{name}", *words, "--no-dashboard"]
    (folder / "dask").mkdir(exist_ok=True)
    with open(folder / "dask/log", "ab") as log:
        return subprocess.Popen(command, cwd=folder / "dask", env=env, stdout=log, stderr=log)


@pytest.fixture
def dask(tmp_path):
    """The scheduler's address, and the two workers with what watches them."""
    file = tmp_path / "scheduler.json"
    started = [start(tmp_path, "scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file))]
    while not file.exists():
        assert started[0].poll() is None, (tmp_path / "dask/log").read_text()
        time.sleep(0.05)
    for name in ("one", "two"):
        started.append(start(tmp_path, "worker", "--scheduler-file", str(file), "--nthreads", "1", "--name", name))
    yield json.loads(file.read_text())["address"], started[1:]
    for process in started:
        for pid in [process.pid, *descendants(process.pid)]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        process.wait()


def test_models_are_converted_on_a_cluster_of_which_a_worker_is_killed(dask, tmp_path, run):  # noqa: F811
    address, workers = dask
    for width in range(3, 15):
        write_model(tmp_path / "models", f"m{width:02}", width)
    (tmp_path / "zoo.toml").write_text(
        'version = 1\n[defaults]\nexact = true\nreport = false\n[[model]]\nprototxt = "models/*.prototxt"\n'
    )
    assert run("zoo", tmp_path / "zoo.toml", "-o", tmp_path / "here").code == 0
    words = [sys.executable, "-m", "deepmerge", "zoo", "zoo.toml", "-o", "out", "--scheduler", address]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = subprocess.Popen(words, cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True)
    while len(list((tmp_path / "out").glob("m*"))) < 3:
        assert command.poll() is None, command.stderr.read()
        time.sleep(0.02)
    for pid in [workers[0].pid, *descendants(workers[0].pid)]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    said = command.communicate(timeout=120)[1]
    assert command.returncode == 0, said
    assert len([line for line in said.splitlines() if ": converted, " in line]) == 12
    made, wanted = trees(tmp_path / "out"), trees(tmp_path / "here")
    assert made.keys() == wanted.keys() and all(made[name] == wanted[name] for name in wanted)
    again = run("zoo", tmp_path / "zoo.toml", "-o", tmp_path / "out", "--scheduler", address)
    assert again.code == 0 and again.err == "12 models done before, 0 left to do\n"


def test_a_scheduler_that_does_not_answer_is_said(monkeypatch):
    monkeypatch.setattr("deepmerge.zoo.dask._TIMEOUT", 1)
    with (
        pytest.raises(EngineError, match="^tcp://127.0.0.1:1: no Dask scheduler answers"),
        cluster("tcp://127.0.0.1:1", run_convert),
    ):
        pass


def test_what_is_no_address_is_said():
    with (
        pytest.raises(EngineError, match="^nothing://x: no Dask scheduler answers"),
        cluster("nothing://x", run_convert),
    ):
        pass
