"""Errors: each family as the command line prints it, and docs/errors.md, which shows them all."""

from __future__ import annotations

import inspect
import re

import pytest
from click.testing import CliRunner

from deepmerge import errors, names
from deepmerge.cli import main
from tests.error_cases import CASES, lay_out

KINDS = [kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, errors.DeepmergeError)]


@pytest.fixture(scope="session")
def page(models) -> str:
    return (models.parent / "docs" / "errors.md").read_text(encoding="utf-8")


def section(page: str, kind: type) -> str:
    """What the page says of one class."""
    return page.partition(f"\n## {kind.__name__}\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize("name", CASES)
def test_errors_are_printed_as_the_page_says(name, page, tmp_path, monkeypatch):
    case = CASES[name]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DEEPMERGE_CAFFE_PYTHON", "/opt/caffe/bin/python")
    lay_out(tmp_path)
    case.change(tmp_path)
    apart = "mix_stderr" in inspect.signature(CliRunner.__init__).parameters  # click before 8.2
    done = (CliRunner(mix_stderr=False) if apart else CliRunner()).invoke(main, case.command.split())
    *before, line = done.stderr.splitlines()
    assert done.exit_code == 1 and done.stdout == "" and all(text.startswith("warning: ") for text in before), (
        done.stderr
    )
    assert isinstance(done.exception.__context__, case.error), line
    assert line.startswith("deepmerge: ") and line.isprintable()
    assert f"\n    {line}\n" in section(page, case.error), line


def test_the_page_shows_nothing_else(page, request):
    """As many examples as there are cases, in sections of the classes that there are."""
    assert [line[3:] for line in page.splitlines() if line.startswith("## ")] == [kind.__name__ for kind in KINDS]
    assert len(re.findall(r"^    deepmerge: ", page, re.MULTILINE)) == len(CASES)


@pytest.mark.parametrize("kind", KINDS)
def test_messages_are_one_line_that_a_terminal_may_show(kind):
    error = kind("a\nb\x1b[2J\u202e" + "x" * 10_000 + " the way out")
    assert str(error).startswith("a\\nb\\x1b[2J\\u202e") and str(error).endswith("the way out")
    assert str(error).isprintable() and len(str(error)) < names.MAX_LENGTH + 50
    assert str(kind("größer: 1×2 “…”")) == "größer: 1×2 “…”"


def test_places():
    error = errors.ReadError("is odd", "net.prototxt", 3, 4)
    assert (str(error), error.file, error.line, error.column) == ("net.prototxt:3:4: is odd", "net.prototxt", 3, 4)
    assert str(errors.ReadError("is odd", "a\nb")) == "a\\nb: is odd" and str(errors.ReadError("is odd")) == "is odd"
    error = errors.EmitError("out: is there", file="out", remedy="move it")
    assert (str(error), error.file, errors.EmitError("is odd").file) == ("out: is there; move it", "out", None)
