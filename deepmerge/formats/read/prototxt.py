"""Prototxt text → tree, without a schema.

Takes protobuf's text format as real files use it: comments, `name { }`, `name: { }`, `name < >`, both
quote styles, strings put together from pieces, lists in brackets, `,` and `;` between fields.
"""

from __future__ import annotations

import re
from pathlib import Path

from deepmerge.errors import ReadError
from deepmerge.formats.read.files import read_text
from deepmerge.graph.tree import Field, Message, Quoted, Token
from deepmerge.names import decoded, encoded

MAX_DEPTH = 64  # Caffe's own messages nest five deep
MAX_VALUES = 1_000_000  # ResNet-152 has 6,000
_CLOSER = {"{": "}", "<": ">"}
# No group is repeated without end: `re` keeps a record of a hundred bytes for each repetition
_LEXEME = re.compile(
    r"""(?P<space>(?:[ \t\r\n\f\v]+|\#[^\n]*){1,500})
      | (?P<string>"[^"\\\n]*"|'[^'\\\n]*')
      | (?P<quote>["'])
      | (?P<word>-?[A-Za-z0-9_.][A-Za-z0-9_.+\-]*)
      | (?P<mark>[{}<>\[\]:,;\-])""",
    re.VERBOSE,
)
_INSIDE = {quote: re.compile(rf"(?:[^{quote}\\\n]+|\\[^\n]){{1,500}}") for quote in "\"'"}  # a part of a string
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ESCAPE = re.compile(
    r"""\\(?:([0-7]{1,3}) | [xX]([0-9a-fA-F]{1,2}) | u([0-9a-fA-F]{4}) | U([0-9a-fA-F]{8}))
      | ((?:\\[abfnrtv\\'"?]){1,500})
      | \\""",
    re.VERBOSE,
)
_LETTERS = str.maketrans("abfnrtv", "\a\b\f\n\r\t\v")
_CONFLICT = re.compile(r"(?:<{7}|={7}|>{7}|\|{7})(?: |$)")  # how git marks the two versions of a conflict
_HINTS = {
    "$": "a template's placeholder that was never filled in?",
    "%": "a template's placeholder that was never filled in?",
    "@": "a template's placeholder that was never filled in?",
    "/": "comments begin with '#', and paths are written in quotes",
    "“": 'quotes must be straight, as in "conv1"',
    "”": 'quotes must be straight, as in "conv1"',
}


def read_prototxt(path: str | Path) -> Message:
    """Return the tree of a prototxt file; ReadError (file:line:column, the line) if it is not one."""
    tree = parse(read_text(path), path)
    if not tree.fields:
        raise ReadError("holds no network (only blanks and comments); give a prototxt with layers", path)
    return tree


def parse(text: str, file: str | Path = "<text>") -> Message:
    """Return the tree of prototxt text; `file` is its name in errors (ReadError). Lines and columns count from 1."""
    return _Parser(text, file).parse()


class _Parser:
    """A recursive-descent parser with one lexeme of look-ahead; `kind` is empty at the end of the text."""

    def __init__(self, text: str, file: str | Path):
        self.text, self.file = text, file
        self.kind, self.lexeme, self.start, self.end = "", "", 0, 0
        self.line, self.line_start, self.values = 1, 0, 0
        self.opened: list[tuple[str, str, int]] = []  # name, opening brace and line of the messages around
        self.advance()

    def advance(self) -> None:
        while True:
            self.start = self.end
            match = _LEXEME.match(self.text, self.start)
            if match is None:
                if self.start < len(self.text):
                    raise self.error(self.stray())
                self.kind = self.lexeme = ""
                return
            self.kind, self.lexeme, self.end = match.lastgroup, match.group(), match.end()
            if self.kind == "quote":
                self.long_string()
            if self.kind != "space":
                return
            newlines = self.lexeme.count("\n")
            if newlines:
                self.line += newlines
                self.line_start = self.start + self.lexeme.rindex("\n") + 1

    def long_string(self) -> None:
        """Take the string that begins here and has escapes in it."""
        inside, end = _INSIDE[self.lexeme], self.end
        while match := inside.match(self.text, end):
            end = match.end()
        if not self.text.startswith(self.lexeme, end):
            raise self.error(self.stray())
        self.kind, self.end = "string", end + 1
        self.lexeme = self.text[self.start : self.end]

    @property
    def column(self) -> int:
        return self.start - self.line_start + 1

    def at(self, marks: str) -> bool:
        """Return whether one of these marks comes next."""
        return self.kind == "mark" and self.lexeme in marks

    def stray(self) -> str:
        char = self.text[self.start]
        if char in "\"'":
            return f"a string that begins with {char} does not end on its line; close it"
        return f"unexpected character {char!r}; {_HINTS.get(char, 'take it out, or quote the string')}"

    def found(self) -> str:
        return repr(_short(self.lexeme)) if self.kind else "the end of the file"

    def error(self, message: str, line: int | None = None, column: int | None = None) -> ReadError:
        line, column = line or self.line, column or self.column
        whole = self.text.split("\n")[line - 1].strip()
        shown = _short(whole, 120)
        if _CONFLICT.match(whole):
            message = "a mark of a merge conflict was left in the file; keep one of the two versions, without the marks"
        return ReadError(f"{message}, in: {shown}" if shown else message, self.file, line, column)

    def parse(self) -> Message:
        tree = Message(line=1, column=1)
        while self.kind:
            self.field(tree)
        return tree

    def field(self, into: Message) -> None:
        name, line, column = self.name(), self.line, self.column
        self.advance()
        colon = self.at(":")
        if colon:
            self.advance()
        if self.at("["):
            values = self.list(name, colon)
        elif self.at("{<"):
            values = [self.message(name, line, column)]
        elif colon:
            values = [self.scalar(name)]
        else:
            after_string = into.fields and isinstance(into.fields[-1].value, Quoted)
            hint = "; is a quote missing before it?" if self.kind == "string" and after_string else ""
            raise self.error(f"expected ':' or '{{' after {_short(name)!r}, found {self.found()}{hint}")
        into.fields.extend([Field(name, value, line, column) for value in values])
        if self.at(",;"):
            self.advance()

    def name(self) -> str:
        if self.kind == "word" and _NAME.fullmatch(self.lexeme):
            return self.lexeme
        if not self.at("}>"):
            raise self.error(f"expected a field's name, found {self.found()}")
        if not self.opened:
            raise self.error(f"{self.lexeme!r} closes nothing; is there one too many?")
        name, brace, line = self.opened[-1]
        raise self.error(f"{self.lexeme!r} cannot close {_short(name)!r}, which line {line} opens with {brace!r}")

    def counted(self) -> None:
        self.values += 1
        if self.values > MAX_VALUES:
            raise self.error(f"more than {MAX_VALUES:,} values, which no network has; give a network's prototxt")

    def message(self, name: str, line: int, column: int) -> Message:
        self.counted()
        if len(self.opened) >= MAX_DEPTH:
            raise self.error(f"messages nest deeper than {MAX_DEPTH}; is a closing brace missing?")
        closer = _CLOSER[self.lexeme]
        self.opened.append((name, self.lexeme, line))
        self.advance()
        made = Message(line=line, column=column)
        while not self.at(closer):
            if not self.kind:
                raise self.error(
                    f"{_short(name)!r} opens here and is never closed; put {closer!r} after it", line, column
                )
            self.field(made)
        self.opened.pop()
        self.advance()
        return made

    def list(self, name: str, colon: bool) -> list:
        self.advance()
        values = []
        while values or not self.at("]"):
            if self.at("{<"):
                values.append(self.message(name, self.line, self.column))
            elif colon:
                values.append(self.scalar(name))
            else:
                raise self.error(f"expected ':' after {_short(name)!r}, before a list of values")
            if self.at("]"):
                break
            if not self.at(","):
                raise self.error(f"expected ',' or ']' in the list {_short(name)!r}, found {self.found()}")
            self.advance()
        self.advance()
        return values

    def scalar(self, name: str) -> Quoted | Token:
        self.counted()
        if self.kind == "string":
            return self.string()
        sign = ""
        if self.at("-"):
            sign = "-"
            self.advance()
        if self.kind != "word":
            raise self.error(f"expected a value for {_short(name)!r}, found {self.found()}")
        token = Token(sign + self.lexeme)
        self.advance()
        return token

    def string(self) -> Quoted:
        """Read one string, or several in a row, which count as one."""
        first = self.lexeme[1:-1]
        pieces = [self.unescaped(first)] if "\\" in first else []
        self.advance()
        if not pieces and self.kind != "string":
            return Quoted(first)
        pieces = pieces or [encoded(first)]
        while self.kind == "string":
            pieces.append(self.unescaped(self.lexeme[1:-1]))
            self.advance()
        return Quoted(decoded(b"".join(pieces)))

    def unescaped(self, body: str) -> bytes:
        """Return the bytes of a quoted string; escapes are bytes, as in C, and together make UTF-8."""
        out, last = bytearray(), 0
        for match in _ESCAPE.finditer(body):
            out += encoded(body[last : match.start()]) + self.escape(match)
            last = match.end()
        return bytes(out) + encoded(body[last:])

    def escape(self, match: re.Match) -> bytes:
        octal, hexadecimal, short, long, letters = match.groups()
        if octal or hexadecimal:
            return bytes([int(octal, 8) & 255 if octal else int(hexadecimal, 16)])
        if short or long:
            return chr(min(int(short or long, 16), 0x10FFFF)).encode("utf-8", "surrogatepass")
        if letters is None:
            shown = match.string[match.start() : match.start() + 2]
            raise self.error(f"the escape {shown} is unknown; a backslash in a string is written \\\\")
        return letters[1::2].translate(_LETTERS).encode()


def _short(text: str, most: int = 60) -> str:
    return text if len(text) <= most else text[:most] + "…"
