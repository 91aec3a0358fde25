"""A name read back from each kind of output is the same name."""

from __future__ import annotations

import html
import json
import math
import re
import shlex
import subprocess
import unicodedata

import pytest
from google.protobuf import text_format
from hypothesis import given, settings

from deepmerge import names
from deepmerge.formats import schema
from deepmerge.formats.read.prototxt import parse
from deepmerge.names import MAX_LENGTH, for_terminal
from tests.strange_names import NAMES, TROUBLE

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

ORDINARY = ["conv1", "inception_4b/3x3 reduce", "größe.1-2", "层"]
any_name = given(NAMES)
few = settings(max_examples=60, deadline=None)


def harmless(text: str) -> bool:
    """Whether nothing in the text moves, hides or turns what a terminal shows."""
    return not any(unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") for char in text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("größe 1×2", "größe 1×2"),
        ("a\nb\tc", "a\\nb\\tc"),
        ("\x1b[2J\x9b", "\\x1b[2J\\x9b"),
        ("\u2028\u202e\u200b", "\\u2028\\u202e\\u200b"),
        ("\udcff", "\\udcff"),
        (7, "7"),
    ],
)
def test_a_line_for_a_terminal(text, expected):
    assert for_terminal(text) == expected


def test_a_long_line_loses_its_middle():
    line = for_terminal("a" * 3000 + "z" * 3000)
    assert line.startswith("a" * 1500 + " … ") and line.endswith("z" * 400) and len(line) < MAX_LENGTH
    assert for_terminal("abcdefghij" * 2, 10) == "abcdefg … ij"


@few
@any_name
def test_what_a_terminal_shows_is_harmless(name):
    for text in (names.for_terminal(name), names.for_comment(name), names.for_html(name)):
        assert harmless(text)
    assert harmless(names.for_json({name: [name]}).replace("\n", ""))
    assert harmless(names.for_toml(name)) and harmless(names.for_prototxt(name))


@few
@any_name
def test_bytes(name):
    assert names.decoded(names.encoded(name)) == name


def test_a_surrogate_that_stands_for_no_byte():
    assert names.encoded("\ud800 \udc7f \udd00") == "\ufffd \ufffd \ufffd".encode()


@few
@any_name
def test_json(name):
    for ascii_only in (False, True):
        text = names.for_json({name: [name]}, ascii_only)
        assert json.loads(text.encode()) == {name: [name]} and text.isascii() >= ascii_only


def test_json_has_no_words_for_what_is_not_finite():
    value = {"a": [math.nan, 1.5, (math.inf, -math.inf)], "b": {"c": math.nan}}
    assert json.loads(names.for_json(value)) == {"a": [None, 1.5, [None, None]], "b": {"c": None}}


@few
@any_name
def test_toml(name):
    text = names.for_toml(name)
    data = tomllib.loads(f"{text} = {text}".encode().decode())
    (key,) = data
    assert names.from_toml(key) == names.from_toml(data[key]) == name


@few
@any_name
def test_prototxt(name):
    text = f"data: {names.for_prototxt(name)}"
    assert parse(text).value("data") == name
    assert text_format.Parse(text, schema.message_class("Datum")()).data == names.encoded(name)


@few
@any_name
def test_html(name):
    text = names.for_html(name)
    assert not re.search("[<>\"']", text) and html.unescape(text) == for_terminal(name)


@few
@any_name
def test_onnx(name):
    text = names.for_onnx(name)
    assert (text == name) == (not any("\udc80" <= char <= "\udcff" for char in name))
    assert text.encode().decode() == text


@few
@any_name
def test_markdown(name):
    text = names.for_markdown(name)
    assert not re.search(r"(?<!\\)[|<`*]", text.replace("\\\\", "")) and harmless(text)
    assert re.sub(r"\\([\\`*\[\]<&~|])", r"\1", text) == for_terminal(name)


def test_charts():
    assert names.for_chart("a$b$\n") == r"a\$b\$\n"


@few
@any_name
def test_paths(name):
    path = names.for_path(name)
    assert re.fullmatch(r"[A-Za-z0-9._][A-Za-z0-9._-]{0,254}", path) and path not in (".", "..")


@pytest.mark.parametrize(
    ("name", "path"), [("", "_"), (".", "_."), ("..", "_.."), ("-rf", "_-rf"), ("a/../b", "a_.._b"), ("\udcff", "_")]
)
def test_names_that_are_another_folder_or_an_option(name, path):
    assert names.for_path(name) == path


def test_long_names_keep_apart():
    one, other = (names.for_path("a" * 300 + end) for end in "xy")
    assert one != other and len(one) == len(other) == names.MAX_PATH and one.startswith("a" * 242 + "-")
    assert names.for_path("a" * 255) == "a" * 255


@few
@any_name
def test_a_word_of_a_shell(name):
    text = names.for_shell(name)
    assert shlex.split(text) == [for_terminal(name)] and harmless(text)


def test_a_comment_takes_no_further_line(tmp_path):
    """Make goes on with the comment where a line ends with a backslash."""
    lines = [f"# {names.for_comment(name)}" for name in ["a\\", *TROUBLE]]
    file = tmp_path / "Makefile"
    file.write_text("\n".join([*lines, "all:", "\t@echo made", ""]))
    done = subprocess.run(["make", "--no-print-directory", "-f", str(file)], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("made\n", "")
    assert parse("\n".join([*lines, "a: 1"])).value("a") == "1" and len(lines) == len(TROUBLE) + 1


def test_words_of_a_makes_shell(tmp_path):
    words = [word for word in [*TROUBLE, "-n"] if not set(word) & set("\n\0")]
    text = "all:\n" + "".join(f"\t@printf '%s\\0' {names.for_make(word)}\n" for word in words)
    (tmp_path / "Makefile").write_bytes(names.encoded(text))
    done = subprocess.run(["make", "--no-print-directory", "-f", "Makefile"], cwd=tmp_path, capture_output=True)
    found = [names.decoded(word) for word in done.stdout.split(b"\0")[:-1]]
    assert found == [f"./{word}" if word.startswith("-") else word for word in words] and not done.stderr


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_names_stay_as_they_are(name):
    assert {names.for_terminal(name), names.for_comment(name), names.for_onnx(name), names.for_html(name)} == {name}
    assert {names.for_prototxt(name), names.for_toml(name), names.for_json(name)} == {f'"{name}"'}
