"""Prototxt text → tree; the judge of what may stand in a prototxt is real Caffe's text parser."""

from __future__ import annotations

import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from deepmerge.errors import ReadError
from deepmerge.formats.read.prototxt import MAX_DEPTH, parse, read_prototxt
from deepmerge.formats.write.prototxt import format_tree
from deepmerge.graph.tree import Message, Quoted, Token
from tests.helpers import calls
from tests.protobuf_judge import differences
from tests.trees import made, plain, trees

# text → what it means, in one normal form
FORMS = {
    'name: "net"': 'name: "net"',
    "name: 'net'": 'name: "net"',
    "name: 'a\"b'": 'name: "a\\"b"',
    'name: "a" "b"\n  \'c\'': 'name: "abc"',
    'name: "a" # no "b"\n "c"': 'name: "ac"',
    'name: ""': 'name: ""',
    'name: "a\\tb\\\\c\\n\\x41\\101\\\'"': 'name: "a\\tb\\\\c\\nAA\'"',
    '# only this\nname:"a"#b\n#c': 'name: "a"',
    "layer { }": "layer {\n}",
    "layer{}": "layer {\n}",
    "layer: { }": "layer {\n}",
    "layer < >": "layer {\n}",
    "layer: < name: 'a' >": 'layer { name: "a" }',
    'layer { lrn_param < alpha: 1 > relu_param: { negative_slope: .5 } }': "layer { lrn_param { alpha: 1 } relu_param { negative_slope: .5 } }",
    'name: "a", force_backward: true; debug_info: t': 'name: "a" force_backward: true debug_info: t',
    "input_dim: [1, 2, 3]": "input_dim: 1 input_dim: 2 input_dim: 3",
    "input_dim: []": "",
    "layer [ { name: 'a' }, < name: 'b' > ]": 'layer { name: "a" } layer { name: "b" }',
    "layer: [ { name: 'a' } ]": 'layer { name: "a" }',
    "layer { top: ['a', 'b'] }": 'layer { top: "a" top: "b" }',
    "layer { lrn_param { alpha: -1.5e-3 beta: inf k: 1.f local_size: 0x7 norm_region: WITHIN_CHANNEL } }": (
        "layer { lrn_param { alpha: -1.5e-3 beta: inf k: 1.f local_size: 0x7 norm_region: WITHIN_CHANNEL } }"
    ),
    "layer{name:'a'type:'b'}": 'layer { name: "a" type: "b" }',
    'name: "\u7f51\u7edc" # \u7f51': 'name: "\\347\\275\\221\\347\\273\\234"',
    'name: "a"\t\v\f\r\n': 'name: "a"',
}  # fmt: skip


@pytest.mark.parametrize("text", FORMS, ids=lambda text: ascii(text)[:40])
def test_forms(text):
    assert plain(parse(text)) == plain(parse(FORMS[text]))


def test_forms_mean_the_same_to_real_caffe(caffe_python):
    cases = [("NetParameter", text, format_tree(parse(text))) for text in FORMS]
    assert differences(caffe_python, cases) == [""] * len(cases)


def test_values_know_what_they_were():
    (quoted, bare) = parse("a: 'MAX' a: MAX").values("a")
    assert isinstance(quoted, Quoted) and isinstance(bare, Token) and quoted == bare == "MAX"
    assert parse("a: - 5").value("a") == "-5"


def test_bytes_that_are_no_utf8_survive(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_bytes(b'name: "caf\xe9"')
    tree = read_prototxt(path)
    assert tree.value("name") == "caf\udce9" == parse('name: "caf\\351"').value("name")
    assert format_tree(tree) == 'name: "caf\\351"\n'
    assert parse('name: "\\303" "\\251"').value("name") == "\u00e9"  # one character out of two strings


def test_byte_order_mark_is_skipped(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_bytes(b'\xef\xbb\xbfname: "a"')
    assert plain(read_prototxt(path)) == [("name", ("quoted", "a"))]
    assert read_prototxt(path).fields[0].column == 1


def test_escapes():
    assert (
        parse(r'name: "\a\b\f\v\r\?\"\x4\1019\u00e9\U0001f600"').value("name") == '\a\b\f\v\r?"\x04A9\u00e9\U0001f600'
    )
    assert parse(r'name: "\777"').value("name") == "\udcff"  # as in Caffe, the lowest eight bits


def test_lines_and_columns_count_from_one():
    tree = parse('name: "a"\n\n  layer {\n\ttype: "b" top: "c"\n  }\n')
    name, layer = tree.fields
    kind, top = layer.value.fields
    assert [(f.line, f.column) for f in (name, layer, kind, top)] == [(1, 1), (3, 3), (4, 2), (4, 12)]
    assert (layer.value.line, layer.value.column) == (3, 3)


ERRORS = {
    "name: conv 1": "1:12: expected a field's name, found '1', in: name: conv 1",
    "layer {\n  name: \"a\n}": "2:9: a string that begins with \" does not end on its line; close it, in: name: \"a",
    "layer {\n  name: 'a\\'\n}": "2:9: a string that begins with ' does not end on its line; close it, in: name: 'a\\'",
    "dim: $BATCH": "1:6: unexpected character '$'; a template's placeholder that was never filled in?, in: dim: $BATCH",
    "source: /data/x": "1:9: unexpected character '/'; comments begin with '#', and paths are written in quotes, in: source: /data/x",
    "// net\nname: 'a'": "1:1: unexpected character '/'; comments begin with '#', and paths are written in quotes, in: // net",
    "name: \u201cnet\u201d": "1:7: unexpected character '\u201c'; quotes must be straight, as in \"conv1\", in: name: \u201cnet\u201d",
    "dim: 3 !": "1:8: unexpected character '!'; take it out, or quote the string, in: dim: 3 !",
    "dim: +5": "1:6: unexpected character '+'; take it out, or quote the string, in: dim: +5",
    "layer {\n  relu_param {\n  }\n": "1:1: 'layer' opens here and is never closed; put '}' after it, in: layer {",
    "layer {\n}\nlayer {\n relu_param <\n }": "5:2: '}' cannot close 'relu_param', which line 4 opens with '<', in: }",
    "layer {\n}\n}": "3:1: '}' closes nothing; is there one too many?, in: }",
    "layer": "1:6: expected ':' or '{' after 'layer', found the end of the file, in: layer",
    "name \"a\"": "1:6: expected ':' or '{' after 'name', found '\"a\"', in: name \"a\"",
    "dim:": "1:5: expected a value for 'dim', found the end of the file, in: dim:",
    "dim: }": "1:6: expected a value for 'dim', found '}', in: dim: }",
    "dim: - 'a'": "1:8: expected a value for 'dim', found \"'a'\", in: dim: - 'a'",
    "dim: [1, 2": "1:11: expected ',' or ']' in the list 'dim', found the end of the file, in: dim: [1, 2",
    "dim: [1 2]": "1:9: expected ',' or ']' in the list 'dim', found '2', in: dim: [1 2]",
    "dim: [1,]": "1:9: expected a value for 'dim', found ']', in: dim: [1,]",
    "dim [1]": "1:6: expected ':' after 'dim', before a list of values, in: dim [1]",
    "a-b: 1": "1:1: expected a field's name, found 'a-b', in: a-b: 1",
    "{ a: 1 }": "1:1: expected a field's name, found '{', in: { a: 1 }",
    "a: 1;; b: 2": "1:6: expected a field's name, found ';', in: a: 1;; b: 2",
    "a: 1 [b.c]: 2": "1:6: expected a field's name, found '[', in: a: 1 [b.c]: 2",
    "source: 'C:\\data'": "1:9: the escape \\d is unknown; a backslash in a string is written \\\\, in: source: 'C:\\data'",
    "source: '\\x'": "1:9: the escape \\x is unknown; a backslash in a string is written \\\\, in: source: '\\x'",
    'a: "x b: "y" c: "z"': "1:12: expected ':' or '{' after 'y', found '\" c: \"'; is a quote missing before it?, in: a: \"x b: \"y\" c: \"z\"",
    "a: 1\n<<<<<<< HEAD\nb: 2\n=======\nb: 3\n>>>>>>> theirs\n": "2:1: a mark of a merge conflict was left in the file; keep one of the two versions, without the marks, in: <<<<<<< HEAD",
    "a: 1\n=======\nb: 3\n": "2:1: a mark of a merge conflict was left in the file; keep one of the two versions, without the marks, in: =======",
    "a: 1\n\x1b[0m": "2:1: unexpected character '\\x1b'; take it out, or quote the string, in: \\x1b[0m",
}  # fmt: skip


@pytest.mark.pitfall("row", 7)
@pytest.mark.parametrize("text", ERRORS, ids=ascii)
def test_errors(text):
    with pytest.raises(ReadError) as caught:
        parse(text, "net.prototxt")
    assert str(caught.value) == f"net.prototxt:{ERRORS[text]}"
    assert caught.value.line and caught.value.column


def test_real_caffe_refuses_them_too(caffe_python):
    skipped = ("source: '\\x'", "source: 'C:\\data'", "dim: +5")  # Python's parser is laxer than Caffe's, which is C++
    cases = [("NetParameter", text, text) for text in ERRORS if text not in skipped]
    assert all("ParseError" in found for found in differences(caffe_python, cases))


@pytest.mark.parametrize("long", ["a" * 10_000, "a: " + "b" * 10_000 + " !", "'" + "c" * 10_000])
def test_long_lines_are_cut_in_errors(long):
    with pytest.raises(ReadError) as caught:
        parse(long)
    assert len(str(caught.value)) < 400


def test_nesting_has_an_end():
    deep = MAX_DEPTH - 1
    assert parse("a {" * deep + "}" * deep)
    with pytest.raises(ReadError, match="nest deeper than 64"):
        parse("a {" * 100_000)


@pytest.mark.parametrize("text", ["", " \n", "# only a comment\n"])
def test_nothing_in_it(tmp_path, text):
    path = tmp_path / "net.prototxt"
    path.write_text(text)
    with pytest.raises(ReadError) as caught:
        read_prototxt(path)
    expected = "holds no network (only blanks and comments); give a prototxt with layers" if text else "is empty"
    assert str(caught.value) == f"{path}: {expected}"


@settings(max_examples=200, deadline=None)
@given(trees)
@example(made([("a", Quoted("\udcff\x00\x7f\u2028\"\\'"))]))
def test_writing_and_reading_is_the_identity(tree: Message):
    text = format_tree(tree)
    again = parse(text)
    assert plain(again) == plain(tree)
    assert format_tree(again) == text


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="ab:{}<>[]\"'\\,;-.1# \n$é", max_size=40))
def test_any_text_is_a_tree_or_a_read_error(text):
    try:
        tree = parse(text)
    except ReadError as error:
        assert "\n" not in str(error)
    else:
        assert plain(parse(format_tree(tree))) == plain(tree)


@pytest.mark.parametrize("name", ["googlenet/train_val.prototxt", "resnet50/deploy.prototxt"])
def test_models_survive(models, name):
    text = (models / name).read_text()
    tree = parse(text)
    assert plain(parse(format_tree(tree))) == plain(tree)


def test_models_mean_the_same_to_real_caffe(models, caffe_python):
    texts = [path.read_text() for path in sorted(models.glob("*/*.prototxt"))]
    cases = [("NetParameter", text, format_tree(parse(text))) for text in texts]
    assert len(cases) > 10 and differences(caffe_python, cases) == [""] * len(cases)


def test_a_large_file_takes_work_by_its_length(models):
    text = (models / "googlenet/deploy.prototxt").read_text()
    assert calls(lambda: parse(text)) < 3 * len(text)
    assert calls(lambda: parse(8 * text)) < 8.1 * calls(lambda: parse(text))


@pytest.mark.parametrize("escape", ["\\\\", "\\n", '\\"'])
def test_a_long_string_of_escapes_takes_little_work(escape):
    """A file may have 32 MB of them."""
    number = 100_000
    text = f'a: "{escape * number}"'
    assert calls(lambda: parse(text)) < number / 40
    assert parse(text).value("a") == parse(f'a: "{escape}"').value("a") * number


def test_mutated_models_are_trees_or_read_errors(models):
    text = (models / "inception_mini/inception_mini.prototxt").read_text()[:3000]
    chance = random.Random(7)
    for _ in range(150):
        at = chance.randrange(len(text))
        changed = (
            text[:at] + chance.choice(["", "}", "{", '"', ":", "$", "\n", "9", "\\", "[", "\x00"]) + text[at + 1 :]
        )
        try:
            parse(changed, "x")
        except ReadError as error:
            assert str(error).startswith(f"x:{error.line}:{error.column}: ") and "\n" not in str(error)
