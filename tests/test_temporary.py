"""What runs work on goes away: at their end, or at the start of the next run if they were killed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from deepmerge.out.staging import check_free, scratch, staged, write_whole
from deepmerge.temporary import file_beside, temporary_folder, umask

pytest.importorskip("fcntl", reason="no locks here")
NAME = "deepmerge-abcd1234"

HEAD = """
import os, signal, sys
from pathlib import Path
from deepmerge.out.staging import scratch, staged, write_whole
from deepmerge.temporary import file_beside, temporary_folder
die = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def temp(tmp_path, monkeypatch) -> Path:
    """The folder for temporary files, here and in processes."""
    folder = tmp_path / "temp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


def killed(program: str, *words) -> None:
    """Run a program that ends by SIGKILL."""
    done = subprocess.run([sys.executable, "-c", HEAD + program, *map(str, words)], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done


@contextlib.contextmanager
def living(program: str, *words):
    """A program that works until the block ends."""
    command = [sys.executable, "-c", HEAD + program, *map(str, words)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        yield
        process.stdin.close()
        assert process.wait() == 0


WORK = "    print('ready', flush=True); sys.stdin.read()"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_temporary_folder_goes_away(temp):
    with temporary_folder() as folder:
        (folder / "a").write_text("")
        assert names(temp) == [folder.name]
        with temporary_folder() as other:  # does not take the first for a leftover
            assert folder.exists() and other.exists()
    assert names(temp) == []


def test_a_killed_runs_folder_goes_away_and_a_living_ones_stays(temp):
    with living(f"with temporary_folder() as folder:\n{WORK}"):
        there = names(temp)
        killed("with temporary_folder() as folder: Path(folder, 'a').write_text(''); die()")
        assert len(names(temp)) == 2
        with temporary_folder() as folder:
            assert names(temp) == sorted([*there, folder.name])
    assert names(temp) == []


@pytest.mark.parametrize("kind", ["staged", "scratch", "write_whole"])
def test_the_next_run_removes_what_one_that_was_killed_left_beside_its_output(tmp_path, kind):
    place, out = tmp_path / "place", tmp_path / "place/out"
    place.mkdir()
    programs = {
        "staged": "with staged(sys.argv[1]) as folder: Path(folder, 'a').write_text(''); die()",
        "scratch": "with scratch(sys.argv[1]) as folder: Path(folder, 'a').write_text(''); die()",
        "write_whole": "os.replace = die; write_whole(sys.argv[1], 'text')",
    }
    again = {
        "staged": f"with staged(sys.argv[1], force=True):\n{WORK}",
        "scratch": f"with scratch(sys.argv[1]):\n{WORK}",
        "write_whole": f"with file_beside(Path(sys.argv[1])):\n{WORK}",
    }
    killed(programs[kind], out)
    (left,) = names(place)
    with living(again[kind], out):
        (used,) = names(place)  # the leftover is gone
        assert used != left
        if kind == "write_whole":
            write_whole(out, "text")
        elif kind == "scratch":
            with scratch(out):
                assert len(names(place)) == 2
        else:
            with staged(out):
                assert len(names(place)) == 2
        assert used in names(place)


def test_only_what_deepmerge_made_goes_away(temp, tmp_path):
    (tmp_path / "mine").mkdir()
    kept = [
        "deepmerge-datasets",
        "deepmerge-results.scratch",
        f"{NAME}.partial.txt",
        f".out.{NAME}.scratch",
        "x.partial",
    ]
    for name in kept:
        (temp / name).mkdir()
    (temp / f"{NAME}.scratch").symlink_to(tmp_path / "mine")
    os.mkfifo(temp / "deepmerge-abcd1235.scratch")
    (temp / "deepmerge-abcd1236.scratch").mkdir()  # as a killed run leaves it
    before = {*kept, f"{NAME}.scratch", "deepmerge-abcd1235.scratch"}
    with temporary_folder() as folder:
        assert {*names(temp)} == before | {folder.name}
    assert (tmp_path / "mine").exists()


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="takes root")
def test_another_users_folder_stays(temp):
    (temp / f"{NAME}.scratch").mkdir()
    os.chown(temp / f"{NAME}.scratch", 1234, -1)
    with temporary_folder():
        assert f"{NAME}.scratch" in names(temp)


def test_the_leftovers_of_another_output_stay(tmp_path):
    killed("with staged(sys.argv[1]) as folder: die()", tmp_path / "out.b")
    check_free(tmp_path / "out")
    assert len(names(tmp_path)) == 2  # and the folder for temporary files


REPLACE = """
rename = os.rename
def rename_or_die(old, new):
    if str(new) == sys.argv[1] and sys.argv[2] == 'before': die()
    rename(old, new)
    if str(new) == sys.argv[1]: die()
os.rename = rename_or_die
with staged(sys.argv[1], force=True) as folder: Path(folder, 'a').write_text('new')
"""


@pytest.mark.parametrize(("when", "text"), [("before", "old"), ("after", "new")])
def test_an_output_that_was_being_replaced_is_there_after_a_kill(tmp_path, when, text):
    out = tmp_path / "place/out"
    out.mkdir(parents=True)
    (out / "a").write_text("old")
    killed(REPLACE, out, when)
    assert len(names(out.parent)) == 2
    check_free(out, force=True)
    assert names(out.parent) == ["out"] and (out / "a").read_text() == text


def test_a_folder_that_another_run_deletes_before_it_is_locked_is_made_again(temp, monkeypatch):
    made, real = [], tempfile.mkdtemp

    def mkdtemp(**name):
        made.append(Path(real(**name)))
        if len(made) == 1:
            made[0].rmdir()
        return str(made[-1])

    monkeypatch.setattr(tempfile, "mkdtemp", mkdtemp)
    with temporary_folder() as folder:
        assert folder == made[1] and folder.exists()


def test_a_file_that_another_run_deletes_before_it_is_locked_is_made_again(tmp_path, monkeypatch):
    made, real = [], tempfile.mkstemp

    def mkstemp(**name):
        handle, file = real(**name)
        made.append(Path(file))
        if len(made) == 1:
            made[0].unlink()
        return handle, file

    monkeypatch.setattr(tempfile, "mkstemp", mkstemp)
    with file_beside(tmp_path / "out") as file:
        assert file == made[1] and file.exists()


def test_one_thread_at_a_time_reads_the_umask(monkeypatch):
    before, real = umask(), os.umask

    def slow(mask):
        found = real(mask)
        time.sleep(0.01)
        return found

    monkeypatch.setattr(os, "umask", slow)
    try:
        with ThreadPoolExecutor(4) as pool:
            assert {*pool.map(lambda _: umask(), range(8))} == {before}
    finally:
        real(before)


def test_a_disk_without_locks(temp, monkeypatch):
    def refuse(*_):
        raise OSError(95, "Operation not supported")

    (temp / f"{NAME}.scratch").mkdir()
    monkeypatch.setattr("fcntl.flock", refuse)
    with temporary_folder() as folder:
        assert folder.exists()
    assert names(temp) == [f"{NAME}.scratch"]  # nobody can know whether it is in use


# -- commands --------------------------------------------------------------------------------------

COMMAND = """
import deepmerge.{module} as module
module.{function} = die
from deepmerge.__main__ import main
main()
"""


def test_the_next_convert_removes_what_one_that_was_killed_left(models, tmp_path):
    mini = [models / f"inception_mini/inception_mini.{kind}" for kind in ("prototxt", "caffemodel")]
    words, place = ["convert", *mini, "-q", "-o", tmp_path / "place/out"], tmp_path / "place"
    killed(COMMAND.format(module="out.staging", function="_move"), *words)
    (left,) = place.iterdir()
    assert (left / "report.json").exists()
    subprocess.run([sys.executable, "-m", "deepmerge", *words], check=True)
    assert names(place) == ["out"]


def test_the_next_command_removes_what_a_profile_that_was_killed_left(models, temp):
    mini = [models / f"inception_mini/inception_mini.{kind}" for kind in ("prototxt", "caffemodel")]
    killed(COMMAND.format(module="measure.harness.setup", function="Worker"), "profile", *mini)
    (left,) = temp.iterdir()
    assert len(names(left)) == 2  # the network's files
    with temporary_folder() as folder:
        assert names(temp) == [folder.name]
