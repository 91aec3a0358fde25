"""Signals end a run in order. Each test sends real ones to a process of its own."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this system has other signals")
NAMES = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129}
TOLD = {"SIGINT": "deepmerge: interrupted; the output was not written\n"}

HEAD = """
import os, signal, sys, time
from deepmerge.signals import ending, held_off
signal.signal(signal.SIGINT, signal.default_int_handler)  # which is not so where tests run in the background
send = lambda: os.kill(os.getpid(), getattr(signal, sys.argv[1]))
"""


def run(program: str, *words) -> subprocess.CompletedProcess[str]:
    """Run a program after HEAD."""
    command = [sys.executable, "-c", HEAD + program, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("name", NAMES)
def test_what_a_block_does_in_finally_is_done_although_more_signals_come(name):
    program = """
with ending():
    try:
        send()
        time.sleep(60)
    finally:
        send()
        send()
        print("cleaned")
print("not reached")
"""
    done = run(program, name)
    assert (done.returncode, done.stdout, done.stderr) == (NAMES[name], "cleaned\n", "")


@pytest.mark.parametrize("name", NAMES)
def test_what_a_destructor_loses_is_raised_again(name):
    program = """
class Fragile:
    def __del__(self):
        send()
        sum(range(9))
        print("not reached")

with ending():
    Fragile()
    time.sleep(60)
"""
    done = run(program, name)
    assert (done.returncode, done.stdout, done.stderr) == (NAMES[name], "", "")


def test_what_becomes_another_exception_or_is_caught_still_ends_the_process():
    for rest in ("raise RuntimeError from None", "pass"):
        done = run(f"with ending():\n  try: send(); time.sleep(60)\n  except BaseException: {rest}", "SIGTERM")
        assert (done.returncode, done.stdout, done.stderr) == (143, "", "")


def test_other_errors_of_destructors_are_still_shown():
    done = run("class Broken:\n  def __del__(self): 1 / 0\nwith ending(): Broken()")
    assert done.returncode == 0 and "ZeroDivisionError" in done.stderr


def test_a_block_that_must_not_be_interrupted_comes_to_its_end():
    program = """
with ending():
    with held_off():
        with held_off():
            send()
        print("whole")
    print("not reached")
"""
    done = run(program, "SIGTERM")
    assert (done.returncode, done.stdout, done.stderr) == (143, "whole\n", "")


def test_an_ignored_signal_stays_ignored_as_under_nohup():
    done = run("signal.signal(signal.SIGHUP, signal.SIG_IGN)\nwith ending(): send(); print('on')", "SIGHUP")
    assert (done.returncode, done.stdout) == (0, "on\n")


def test_after_the_block_a_signal_ends_the_process_at_once():
    done = run("with ending(): pass\nsend(); time.sleep(60)", "SIGINT")
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


# -- at random moments -----------------------------------------------------------------------------

COUNTED = """
from deepmerge.__main__ import main
moments, calls = [int(word) for word in sys.argv[2:4]], 0  # the calls of functions at which the signal is sent

def count(*_):
    global calls
    calls += 1
    if calls in moments:
        os.kill(os.getpid(), number)

number = getattr(signal, sys.argv[1])
sys.argv[1:] = sys.argv[4:]
if not any(moments):
    import atexit
    atexit.register(lambda: print("calls", calls))
sys.setprofile(count)
main()
"""


def check_moments(words: list[str], folder: Path, moments: int, seed: int) -> None:
    """Send signals to the command at random calls. It writes into `folder`, whole or nothing at all."""
    whole = run(COUNTED, "SIGINT", 0, 0, *words)
    assert whole.returncode == 0, whole.stderr
    calls, files = int(whole.stdout.split()[-1]), listing(folder)
    clear(folder)
    rng = random.Random(seed)
    for number in range(moments):
        name, first = list(NAMES)[number % len(NAMES)], rng.randrange(1, calls * 9 // 10)
        second = first + rng.choice([0, 1, 10, 100, 1000])
        done = run(COUNTED, name, first, second, *words)
        about = f"{name} at calls {first} and {second} of {calls}: {done}"
        # a signal ends the process by itself once the command is done
        assert done.returncode in (NAMES[name], -getattr(signal, name)), about
        assert done.stderr in ("", TOLD.get(name)), about
        assert listing(folder) in ([], files), about
        clear(folder)


def listing(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def clear(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()


def commands(models: Path, tmp_path: Path) -> dict[str, list[str]]:
    """Commands that write into the folder `to`."""
    mini = [str(models / f"inception_mini/inception_mini.{kind}") for kind in ("prototxt", "caffemodel")]
    (tmp_path / "to").mkdir()
    subprocess.run([sys.executable, "-m", "deepmerge", "convert", *mini, "-q", "-o", tmp_path / "out"], check=True)
    return {
        "convert": ["convert", *mini, "-q", "-o", str(tmp_path / "to/new")],
        "report": ["report", str(tmp_path / "out"), "-q", "-o", str(tmp_path / "to/page.html")],
    }


def test_signals_at_random_moments(models, tmp_path):
    check_moments(commands(models, tmp_path)["report"], tmp_path / "to", moments=3, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["convert", "report"])
def test_signals_at_many_random_moments(models, tmp_path, command):
    check_moments(commands(models, tmp_path)[command], tmp_path / "to", moments=90, seed=2)
