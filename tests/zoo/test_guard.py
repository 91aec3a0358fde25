import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from deepmerge.cli.zoo_options import run_convert
from deepmerge.zoo.files import digest
from deepmerge.zoo.guard import guarded
from deepmerge.zoo.record import LOG, Task, read_record
from tests.zoo import workers
from tests.zoo.conftest import write_model
from tests.zoo.processes import gone


@pytest.fixture
def task(tmp_path) -> Task:
    """The task of a small model."""
    write_model(tmp_path, "net")
    reads = {"prototxt": "net.prototxt", "caffemodel": "net.caffemodel"}
    return Task("net", str(tmp_path), str(tmp_path / "out/net"), reads, ("--exact",), {}, 60, None)


def test_a_model_is_converted_as_convert_does_it(task, tmp_path):
    assert guarded(task, run_convert).status == "converted"
    run_convert(
        ["--exact", "-o", str(tmp_path / "by_hand"), str(tmp_path / "net.prototxt"), str(tmp_path / "net.caffemodel")]
    )
    made = {path.name for path in Path(task.out).iterdir()}
    assert made - {path.name for path in (tmp_path / "by_hand").iterdir()} == {"result.json", "run.json"}
    for name in ("deploy.prototxt", "weights.caffemodel", "recipe.toml", "finetune.mk"):
        assert Path(task.out, name).read_bytes() == (tmp_path / "by_hand" / name).read_bytes()
    assert Path(task.out).parent.stat().st_nlink == 3, "nothing but the model's folder is left"


def test_a_hang_is_killed(task):
    outcome = guarded(replace(task, seconds=0.5), workers.hang)
    assert outcome.status == "failed" and "took more than 0.5 s (limits.seconds)" in outcome.line
    assert outcome.seconds >= 0.5
    assert read_record(task.out).result["failure"]["kind"] == "time"
    assert Path(task.out, LOG).read_text() == "hanging\n"


def test_one_that_eats_memory_is_killed(task):
    outcome = guarded(replace(task, memory=300_000_000), workers.eat)
    assert outcome.status == "failed" and "took more than 300 MB of memory (limits.gigabytes)" in outcome.line
    assert read_record(task.out).result["failure"]["kind"] == "memory"


def test_one_that_is_killed_twice_is_set_aside(task):
    outcome = guarded(task, workers.crash)
    assert outcome.status == "set aside" and "ended by SIGKILL, twice" in outcome.line
    assert read_record(task.out).status == "set aside"


def test_one_that_is_killed_once_gets_another_process(task):
    assert guarded(task, workers.crash_once).status == "converted"


def test_what_was_converted_has_the_digest_that_is_asked_for(task):
    task = replace(task, sha256={"caffemodel": digest(task.base, "net.caffemodel")})
    outcome = guarded(task, workers.swap)
    assert outcome.status == "failed" and outcome.line.startswith("net.caffemodel: its SHA-256 is ")


def test_an_error_is_a_line_and_a_log(task):
    outcome = guarded(task, workers.refuse)
    assert outcome.line == "net.caffemodel: is not what it should be; get another"
    assert "Traceback" in Path(task.out, LOG).read_text()


def test_an_error_that_nobody_expected_is_one_line(task):
    assert guarded(task, workers.wrong).line == "a bug in deepmerge (ZeroDivisionError: oh no); report it, with log.txt"


def test_what_a_model_starts_ends_with_it(task, tmp_path):
    guarded(replace(task, seconds=2), workers.with_child)
    assert gone(int((tmp_path / "child").read_text()))


def test_a_process_has_its_share_of_threads(task, tmp_path):
    program = (
        "import sys\nfrom tests.zoo import workers\nfrom deepmerge.zoo.guard import guarded\n"
        "from deepmerge.zoo.record import Task\n"
        f"print(guarded(Task(*{(task.name, task.base, task.out, task.reads, task.words, {}, 60, None)!r}, threads=3),"
        " workers.threads).status)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "converted\n", done.stderr
    assert (tmp_path / "threads").read_text() == "3"


ROOT = Path(__file__).resolve().parents[2]


def test_a_stop_leaves_no_record_and_no_process(task, tmp_path):
    stop = threading.Event()
    found = []
    thread = threading.Thread(target=lambda: found.append(guarded(task, workers.with_child, stop)))
    thread.start()
    while not (tmp_path / "child").exists() or not (tmp_path / "child").read_text():
        time.sleep(0.05)
    stop.set()
    thread.join(10)
    assert found[0].status == "stopped" and not Path(task.out).exists()
    assert gone(int((tmp_path / "child").read_text()))


def test_a_model_ends_when_the_process_that_watches_it_is_killed(task, tmp_path):
    program = (
        "from tests.zoo import workers\nfrom deepmerge.zoo.guard import guarded\nfrom deepmerge.zoo.record import Task\n"
        f"guarded(Task(*{(task.name, task.base, task.out, task.reads, task.words, {}, 60, None)!r}), workers.with_child)"
    )
    process = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT)
    while not (tmp_path / "child").exists() or not (tmp_path / "child").read_text():
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert gone(int((tmp_path / "child").read_text()))
    assert guarded(task, run_convert).status == "converted", "nothing that was left is in the way"
