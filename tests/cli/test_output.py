from __future__ import annotations

import io
import json
import os
import sys

import pytest

from deepmerge.cli import output
from deepmerge.cli.output import Progress, count, megabytes, millions, ratio, shortened, show, show_json, table, warn


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


LONG = "its window of 3 is wider than what is left"


def test_elsewhere_than_on_a_terminal_a_row_is_a_line():
    assert table([("a", LONG * 5)]) == f"a  {LONG * 5}"


def test_on_a_terminal_the_last_column_is_wrapped(terminal):
    terminal(40)
    lines = table([("conv1", LONG), ("b", "short")], ("layer", "because")).splitlines()
    assert lines == [
        "layer  because",
        "-----  " + "-" * 33,
        "conv1  its window of 3 is wider than",
        "       what is left",
        "b      short",
    ]


def test_long_words_are_not_broken_and_a_narrow_terminal_leaves_room(terminal):
    terminal(10)
    name = "inception_3a/5x5_reduce_merged_and_more"
    assert table([("a", f"{name} {LONG}")]).splitlines()[0] == f"a  {name}"


def test_numbers_on_the_right_are_not_wrapped(terminal):
    terminal(20)
    assert table([("some long name", "1,234,567 M")], right="lr") == "some long name  1,234,567 M"


def test_json_as_stdout_takes_it(monkeypatch):
    for encoding, raw in (("utf-8", "é"), ("UTF8", "é"), ("ascii", "\\u00e9"), ("latin-1", "\\u00e9")):
        stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        monkeypatch.setattr(sys, "stdout", stream)
        show_json({"name": "é"})
        stream.flush()
        text = stream.buffer.getvalue().decode(encoding)
        assert raw in text and json.loads(text) == {"name": "é"}


def test_text_goes_to_stdout_and_warnings_to_stderr(capsys):
    show("result")
    show("", quiet=False)
    show("nothing", quiet=True)
    warn(["one", "two"])
    warn(["three"], quiet=True)
    assert capsys.readouterr() == ("result\n", "warning: one\nwarning: two\n")


def test_progress_on_a_terminal_only(capsys, terminal):
    progress = Progress()
    progress("conv1", 1, 4)
    progress.clear()
    assert capsys.readouterr() == ("", "")
    terminal(80)
    for quiet in (True, False):
        progress = Progress(quiet)
        progress("conv1", 1, 4)
        progress.clear()
    out, err = capsys.readouterr()
    assert out == "" and err.count("conv1") == 1 and "1/4" in err and err.endswith("\r\033[K")


def test_numbers():
    assert millions(1_582_671_872) == "1,582.67 M"
    assert megabytes(27_994_208) == "27.99 MB"
    assert ratio(3, 1) == "33.3%" and ratio(0, 0) == "–"
    assert count(1, "step") == "1 step" and count(0, "merge") == "0 merges"


def test_names_are_shortened_where_they_are_many():
    assert shortened(["a", "b", "c"]) == "a, b, c"
    many = [f"inception_3a/layer{i}" for i in range(7)]
    assert shortened(many) == "inception_3a/layer0, inception_3a/layer1 … (7 layers)"
    assert shortened(many[:2], 10) == "inception_3a/layer0, inception_3a/layer1"
