from __future__ import annotations

import contextlib
import io
import json
import os
import re
import sys
import threading
import time

import click
import pytest

from deepmerge.cli import output
from deepmerge.cli.output import Console, Progress, shortened, show_json, table, warn
from deepmerge.names import for_terminal


@pytest.fixture
def terminal(monkeypatch):
    """Let stdout and stderr be a terminal of some width."""

    def terminal(columns: int):
        for stream in (sys.stdout, sys.stderr):
            monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
        monkeypatch.setattr(output.shutil, "get_terminal_size", lambda: os.terminal_size((columns, 24)))

    return terminal


def test_a_table():
    assert table([("a", 10, "x"), ("long", 5, "yy")], ("name", "n", "last"), "lrl").splitlines() == [
        "name   n  last",
        "----  --  ----",
        "a     10  x",
        "long   5  yy",
    ]


def test_a_table_without_head_or_rows():
    assert table([("a", "b")]) == "a  b"
    assert table([]) == ""
    assert table([], ("a", "b")).splitlines() == ["a  b", "-  -"]


def shown(*words, **more) -> str:
    """A table on a terminal, without the colours."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", table(*words, **more))
    return "\n".join(line.rstrip() for line in text.splitlines())


LONG = "its window of 3 is wider than what is left"


def test_elsewhere_than_on_a_terminal_a_row_is_a_line():
    assert table([("a", LONG * 5)]) == f"a  {LONG * 5}"


def test_on_a_terminal_the_last_column_is_wrapped(terminal):
    terminal(40)
    lines = shown([("conv1", LONG), ("b", "short")], ("layer", "because")).splitlines()
    assert lines == [
        "layer  because",
        "─" * 40,
        "conv1  its window of 3 is wider than",
        "       what is left",
        "b      short",
    ]


def test_long_words_are_not_broken_and_a_narrow_terminal_leaves_room(terminal):
    terminal(10)
    name = "inception_3a/5x5_reduce_merged_and_more"
    assert shown([("a", f"{name} {LONG}")]).splitlines()[0] == f"a  {name}"


def test_numbers_on_the_right_are_not_wrapped(terminal):
    terminal(20)
    assert shown([("some long name", "1,234,567 M")], right="lr") == "some long name  1,234,567 M"


def test_names_are_wrapped_where_numbers_need_the_room(terminal):
    terminal(40)
    lines = shown([("inception_3a/5x5_reduce_merged", "1,234,567")], ("layer", "MACs"), "lr").splitlines()
    assert [line.split() for line in lines[2:]] == [["inception_3a/5x5_reduce_merge", "1,234,567"], ["d"]]


@pytest.mark.parametrize("name", ["[bold]conv1[/bold]", "[/]", ":smile:", "[link=x]", "a\x1b[31m\u202eb"])
def test_names_are_shown_as_they_are_on_a_terminal(terminal, name):
    terminal(80)
    line = shown([(name, 1)], ("[red]layer", "n"), "lr").splitlines()[2]
    assert line.split() == [for_terminal(name), "1"]


def test_json_as_stdout_takes_it(monkeypatch):
    for encoding, raw in (("utf-8", "é"), ("UTF8", "é"), ("ascii", "\\u00e9"), ("latin-1", "\\u00e9")):
        stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        monkeypatch.setattr(sys, "stdout", stream)
        show_json({"name": "é"})
        stream.flush()
        text = stream.buffer.getvalue().decode(encoding)
        assert raw in text and json.loads(text) == {"name": "é"}


def test_text_goes_to_stdout_and_warnings_to_stderr(capsys):
    Console().show({}, lambda: "result")
    Console(quiet=True).show({}, lambda: "nothing")
    with click.Context(click.Command("any")):
        Console(as_json=True, quiet=True).show({}, lambda: "nothing")
    warn(["one", "two"])
    warn(["three"], quiet=True)
    assert capsys.readouterr() == ('result\n{\n  "version": 1\n}\n', "warning: one\nwarning: two\n")


def test_progress_on_a_terminal_is_a_bar_that_is_cleared(capsys, terminal, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    terminal(80)
    for quiet in (True, False):
        with Console(quiet=quiet).progress() as progress:
            progress("[red]conv1", 1, 4)
            time.sleep(0.3)  # rich draws four times a second
    out, err = capsys.readouterr()
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", err)
    assert out == "" and "1/4" in text and "[red]conv1" in text and "0:00 elapsed" in text
    assert err.endswith("\x1b[2K") or "\x1b[2K" in err.rpartition("conv1")[2]


def test_progress_elsewhere_is_a_line_a_minute(capsys):
    now = [0.0]
    progress = Progress(clock=lambda: now[0])
    for second in range(0, 300, 5):
        now[0] = second
        progress(
            f"distill, loss {second}" if second > 100 else "measuring the speed", second, 1000 if second > 100 else 1
        )
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "measuring the speed, 0:30 elapsed",
        "measuring the speed, 1:30 elapsed",
        "distill, loss 120: 120 of 1000, 2:00 elapsed, 14:40 left",
        "distill, loss 180: 180 of 1000, 3:00 elapsed, 13:40 left",
        "distill, loss 240: 240 of 1000, 4:00 elapsed, 12:40 left",
    ]
    quiet = Progress(quiet=True, clock=lambda: now[0])
    now[0] = 1000
    quiet("distill", 1, 2)
    assert capsys.readouterr() == ("", "")


def test_work_that_reports_nothing_is_a_bar_after_two_seconds(capsys, terminal, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    terminal(80)
    now = [0.0]
    progress = Progress(clock=lambda: now[0])
    now[0] = 1.9
    progress.tick()
    assert capsys.readouterr().err == ""
    now[0] = 2.0
    progress.tick()
    progress.clear()
    assert "working" in capsys.readouterr().err
    progress("conv1", 1, 4)
    progress.clear()
    capsys.readouterr()
    now[0] = 100.0
    progress.tick()
    assert capsys.readouterr().err == "", "a bar that was removed for a line stays away until the work goes on"


def test_work_that_reports_nothing_for_long_is_a_line_a_minute(capsys):
    now = [0.0]
    progress = Progress(clock=lambda: now[0])
    for second in range(0, 131, 2):
        now[0] = float(second)
        if second == 80:
            progress("timing on ort", 0, 1)
        progress.tick()
    assert capsys.readouterr().err.splitlines() == [
        "working, 1:00 elapsed",
        "timing on ort, 2:00 elapsed",
    ]
    quiet = Progress(quiet=True, clock=lambda: now[0])
    now[0] += 1000
    with quiet.ticking():
        assert not [one for one in threading.enumerate() if one.name == "progress"]
    assert capsys.readouterr() == ("", "")


def test_time_left_is_that_of_the_stage(capsys):
    now = [0.0]
    progress = Progress(clock=lambda: now[0])
    for now[0], stage, done in (
        (10.0, "images", 0),
        (40.0, "images", 25),
        (110.0, "rounding", 40),
        (141.0, "rounding", 70),
    ):
        progress(stage, done, 100)
    assert capsys.readouterr().err.splitlines() == [
        "images: 25 of 100, 0:40 elapsed, 1:30 left",
        "rounding: 40 of 100, 1:50 elapsed",
    ]
    now[0] = 170.0
    progress.tick()
    assert capsys.readouterr().err == "rounding: 70 of 100, 2:50 elapsed, 1:00 left\n"


def test_the_ticking_ends_with_the_work(monkeypatch):
    monkeypatch.setattr(output, "_SILENT", 0.01)
    ticks = threading.Semaphore(0)
    with Console().progress() as progress:
        monkeypatch.setattr(progress, "tick", ticks.release)
        assert ticks.acquire(timeout=60)
    assert not [one for one in threading.enumerate() if one.name == "progress"]


COMMANDS = {
    "inspect": ["inspect", "NET"],
    "plan": ["plan", "NET"],
    "check": ["check", "NET", "--target", "ascend"],
    "doctor": ["doctor"],
    "report": ["report", "OUT"],
    "profile": ["profile", "NET", "--engine", "ort", "--seconds", "0.01"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_that_may_take_long_show_that_they_work(run, mini, tmp_path, monkeypatch, command):
    """The others report their stages; tests of theirs look at those."""
    begun = []

    @contextlib.contextmanager
    def ticking(self):
        begun.append(command)
        yield

    words = {"NET": mini, "OUT": [tmp_path / "out"]}
    if "OUT" in COMMANDS[command]:
        run("convert", *mini, "-o", tmp_path / "out", "--exact", "--no-steps", "-q")
    monkeypatch.setattr(Progress, "ticking", ticking)
    run(*(word for one in COMMANDS[command] for word in words.get(one, [one])))
    assert begun and set(begun) == {command}


def test_names_are_shortened_where_they_are_many():
    assert shortened(["a", "b", "c"]) == "a, b, c"
    many = [f"inception_3a/layer{i}" for i in range(7)]
    assert shortened(many) == "inception_3a/layer0, inception_3a/layer1 … (7 layers)"
    assert shortened(many[:2], 10) == "inception_3a/layer0, inception_3a/layer1"
