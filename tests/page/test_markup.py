from __future__ import annotations

import html
import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepmerge.page.markup import Html, code, data, element, join, plain, shown, table, without_folders


class Seen(HTMLParser):
    """The tags and the text that a browser's parser would see."""

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, text):
        self.text += text


@given(st.text())
def test_text_makes_no_tag_and_comes_back(text):
    seen = Seen(element("p", text, title=text))
    assert [tag for tag, _ in seen.tags] == ["p"] and set(seen.tags[0][1]) == {"title"}
    if text.isprintable():
        assert seen.text == text and seen.tags[0][1]["title"] == text
    assert not any(ord(c) < 32 or c in "\u202e\u2028" for c in shown(text))


@given(
    st.recursive(
        st.text() | st.integers() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_data_cannot_end_its_script_and_comes_back(value):
    text = data(value)
    assert not set("<>&") & set(text) and text.isascii()
    assert json.loads(text) == value


def test_what_is_html_stays_what_it_is():
    assert element("p", join(["<", code("&"), Html("<br>")])) == "<p>&lt;<code>&amp;</code><br></p>"
    assert element("td", 3, class_=None, hidden=True, aria_label='"') == '<td hidden aria-label="&quot;">3</td>'


def test_tables():
    made = table("A <b>", ("name", "n"), [("<x>", 1), (Html("<i>y</i>"), 2)], "lr", "k")
    seen = Seen(made)
    assert [tag for tag, _ in seen.tags if tag in ("caption", "i", "b", "x")] == ["caption", "i"]
    scopes = [attributes.get("scope") for tag, attributes in seen.tags if tag == "th"]
    assert scopes == ["col", "col", "row", "row"]
    box = seen.tags[0][1]
    assert box["tabindex"] == "0" and box["role"] == "region" and box["aria-label"] == "Table: A <b>"
    with pytest.raises(ValueError):
        table("short row", ("a", "b"), [("x",)])


@pytest.mark.parametrize(
    "text, left",
    [
        ("/home/ada/net.prototxt: is empty", "net.prototxt: is empty"),
        ("given as folder:/data/val, not /data/train", "given as folder:val, not train"),
        ("inception_3a/3x3 and '/a/b' are layers, https://host/a/b is not", None),
        ("half and/or half, 1/2, /tmp", None),
        ('File "/home/ada/lib/caffe.py", line 3', 'File "caffe.py", line 3'),
    ],
)
def test_folders_of_absolute_paths_are_left_out(text, left):
    assert without_folders(text) == (left or text)


@pytest.mark.parametrize(
    "text, left",
    [
        ("/Users/Jane Doe/nets/x.prototxt: is empty", "x.prototxt: is empty"),
        ("no such file: '/Users/Jane Doe/mean file'", "no such file: 'mean file'"),
        ("/my disk/out/report.json: '/my disk/out' has changed", "report.json: 'out' has changed"),
        ("given as lmdb:/my disk/data/train", "given as lmdb:train"),
        ("layers inception/Users/Jane Doe/3x3 and '/a/b' stay", None),
    ],
)
def test_known_folders_are_left_out_whatever_is_in_their_names_or_before_them(monkeypatch, text, left):
    monkeypatch.setenv("HOME", "/Users/Jane Doe/")
    assert without_folders(text, [Path("/"), Path("/my disk"), Path("/my disk/out")]) == (left or text)


def test_plain():
    assert plain("a < b") == "a < b" and plain(Html("a &lt; b <b>c</b>")) == "a < b"
    assert html.unescape(shown("\x00\ud800")) == "\\x00\\ud800"
