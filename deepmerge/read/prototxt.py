"""Prototxt text → tree, without a schema.

Takes protobuf's text format as real files use it: comments, `name { }`, `name: { }`, `name < >`, both
quote styles, strings put together from pieces, lists in brackets, `,` and `;` between fields.
"""

from __future__ import annotations

import re
from pathlib import Path

from deepmerge.errors import ReadError
from deepmerge.graph.tree import Field, Message, Quoted, Token
from deepmerge.read.files import read_bytes

MAX_DEPTH = 64  # Caffe's own messages nest five deep
_CLOSER = {"{": "}", "<": ">"}
_LEXEME = re.compile(
    r"""(?P<space>(?:[ \t\r\n\f\v\ufeff]|\#[^\n]*)+)
      | (?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
      | (?P<word>[-+]?[A-Za-z0-9_.][A-Za-z0-9_.+\-]*)
      | (?P<mark>[{}<>\[\]:,;\-])""",
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(?:([0-7]{1,3})|[xX]([0-9a-fA-F]{1,2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL)
_LETTERS = {"n": b"\n", "t": b"\t", "r": b"\r", "a": b"\a", "b": b"\b", "f": b"\f", "v": b"\v"}


def read_prototxt(path: str | Path) -> Message:
    """The tree of a prototxt file; ReadError (file:line:column, the line) where it is not one."""
    data = read_bytes(path)
    if b"\0" in data:
        raise ReadError("is a binary file, not a prototxt; is it the caffemodel, given in the wrong place?", path)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    tree = parse(text, path)
    if not tree.fields:
        raise ReadError("holds no network (only blanks and comments); give a prototxt with layers", path)
    return tree


def parse(text: str, file: str | Path = "<text>") -> Message:
    """The tree of prototxt text; `file` is named in errors (ReadError)."""
    return _Parser(text, file).parse()


class _Parser:
    """A recursive-descent parser with one lexeme of look-ahead."""

    def __init__(self, text: str, file: str | Path):
        self.text, self.file = text, file
        self.kind, self.lexeme, self.start, self.end = "", "", 0, 0
        self.line, self.line_start = 1, 0
        self.advance()

    def advance(self) -> None:
        while True:
            self.start = self.end
            if self.start >= len(self.text):
                self.kind = self.lexeme = ""
                return
            match = _LEXEME.match(self.text, self.start)
            if match is None:
                raise self.error(self._stray())
            self.kind, self.lexeme, self.end = match.lastgroup, match.group(), match.end()
            if self.kind != "space":
                return
            newlines = self.lexeme.count("\n")
            if newlines:
                self.line += newlines
                self.line_start = self.start + self.lexeme.rindex("\n") + 1

    def _stray(self) -> str:
        char = self.text[self.start]
        if char in "\"'":
            return f"a string that begins with {char} does not end on its line; close it"
        hint = "; a template's placeholder that was never filled in?" if char in "$%@" else "; take it out or quote the string"
        return f"unexpected character {char!r}{hint}"

    def error(self, message: str, line: int | None = None, column: int | None = None) -> ReadError:
        line, column = line or self.line, column or self.start - self.line_start + 1
        shown = self.text.split("\n")[line - 1].strip()[:120]
        return ReadError(f"{message}, in: {shown}" if shown else message, self.file, line, column)

    def parse(self) -> Message:
        tree = Message(line=1, column=1)
        while self.kind:
            self.field(tree, 0)
        return tree

    def field(self, into: Message, depth: int) -> None:
        if self.kind != "word" or not (self.lexeme[0].isalpha() or self.lexeme[0] == "_"):
            raise self.error(f"expected a field's name, found {self.lexeme!r}")
        name, line, column = self.lexeme, self.line, self.start - self.line_start + 1
        self.advance()
        colon = self.lexeme == ":" and self.kind == "mark"
        if colon:
            self.advance()
        if self.kind == "mark" and self.lexeme == "[":
            values = self.list(name, depth)
        elif self.kind == "mark" and self.lexeme in _CLOSER:
            values = [self.message(name, depth, line, column)]
        elif colon:
            values = [self.scalar(name)]
        else:
            raise self.error(f"expected ':' or '{{' after {name!r}, found {self.lexeme or 'the end of the file'!r}")
        into.fields.extend(Field(name, value, line, column) for value in values)
        if self.kind == "mark" and self.lexeme in ",;":
            self.advance()

    def message(self, name: str, depth: int, line: int, column: int) -> Message:
        if depth >= MAX_DEPTH:
            raise self.error(f"messages nest deeper than {MAX_DEPTH}")
        closer = _CLOSER[self.lexeme]
        self.advance()
        made = Message(line=line, column=column)
        while not (self.kind == "mark" and self.lexeme == closer):
            if not self.kind:
                raise self.error(f"{name!r} is never closed: {closer!r} is missing before the end of the file", line, column)
            self.field(made, depth + 1)
        self.advance()
        return made

    def list(self, name: str, depth: int) -> list:
        self.advance()
        values = []
        while not (self.kind == "mark" and self.lexeme == "]"):
            if self.kind == "mark" and self.lexeme in _CLOSER:
                values.append(self.message(name, depth, self.line, self.start - self.line_start + 1))
            else:
                values.append(self.scalar(name))
            if self.kind == "mark" and self.lexeme == ",":
                self.advance()
            elif not (self.kind == "mark" and self.lexeme == "]"):
                raise self.error(f"expected ',' or ']' in the list {name!r}, found {self.lexeme or 'the end of the file'!r}")
        self.advance()
        return values

    def scalar(self, name: str) -> Quoted | Token:
        if self.kind == "string":
            pieces = []
            while self.kind == "string":
                pieces.append(_unescape(self.lexeme[1:-1]))
                self.advance()
            return Quoted("".join(pieces))
        sign = ""
        if self.kind == "mark" and self.lexeme == "-":
            sign = "-"
            self.advance()
        if self.kind != "word":
            found = repr(self.lexeme) if self.lexeme else "the end of the file"
            raise self.error(f"expected a value for {name!r}, found {found}")
        token = Token(sign + self.lexeme)
        self.advance()
        return token


def _unescape(body: str) -> str:
    """The text of a quoted string; escapes are bytes, as in C, and together make UTF-8."""
    if "\\" not in body:
        return body
    out, last = b"", 0
    for match in _ESCAPE.finditer(body):
        out += body[last : match.start()].encode()
        octal, hexa, short, long, letter = match.groups()
        if octal:
            out += bytes([int(octal, 8) & 255])
        elif hexa:
            out += bytes([int(hexa, 16)])
        elif short or long:
            out += chr(min(int(short or long, 16), 0x10FFFF)).encode("utf-8", "replace")
        else:
            out += _LETTERS.get(letter, letter.encode())
        last = match.end()
    return (out + body[last:].encode()).decode("utf-8", "surrogateescape")
