"""Names are data: for each kind of output, how a name is written so that it is itself there and nothing else.

A layer, blob or network may have any name. Bytes that are not UTF-8 are lone surrogates in it, as Python's error
handler "surrogateescape" makes them. An ordinary name is written as it is everywhere.
"""

from __future__ import annotations

import hashlib
import html
import json
import math
import re
import shlex
from typing import Any
from urllib.parse import quote_from_bytes, unquote_to_bytes

MAX_LENGTH = 2000  # characters of one line
MAX_PATH = 255  # bytes that a file system takes as one name
_MARKDOWN = re.compile(r"[\\`*\[\]<&~|]")  # without `_`, which means nothing inside a word
_MAX_HTML = 100_000  # characters
_LONE = re.compile("[\ud800-\udc7f\udd00-\udfff]")  # surrogates that stand for no byte
_NOT_ASCII = re.compile(r"[^\x20-\x7e\n]")
_UNSAFE = re.compile(r"[^A-Za-z0-9.-]+")  # in a path
_DIGITS = 12  # of the digest that ends a path which was cut
_BYTES = "bytes:"  # begins a name in TOML whose bytes are written as in a URL
_PROTOTXT = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def encoded(text: str) -> bytes:
    """Return a text as UTF-8. Names that are not UTF-8 keep their bytes; other lone surrogates become U+FFFD."""
    return _LONE.sub("\ufffd", text).encode("utf-8", "surrogateescape")


def decoded(data: bytes | bytearray) -> str:
    """Return UTF-8 as text; `encoded` gives back the same bytes, whatever they are."""
    return data.decode("utf-8", "surrogateescape")


def for_terminal(text: object, most: int = MAX_LENGTH) -> str:
    """Return the text as one line that is safe to print on a terminal, as in tables and errors.

    Line breaks, other control characters and invisible ones, which may turn the direction of the text, are escaped. The
    middle of a text longer than `most` is left out.
    """
    text = str(text)
    if len(text) > most:
        text = f"{text[: most * 3 // 4]} … {text[-most // 5 :]}"
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def for_shell(name: str) -> str:
    """Return the name as one word of a shell command to type; what a terminal would not show is escaped."""
    return shlex.quote(for_terminal(name))


def for_comment(text: str) -> str:
    """Return the text as what may follow `#` on one line of a prototxt, a Makefile or TOML."""
    line = for_terminal(text)
    return f"{line} " if line.endswith("\\") else line  # make would take the next line as well


def for_html(text: object) -> str:
    """Return the text as HTML, for content and for quoted attributes, as a terminal would show it."""
    return html.escape(for_terminal(text, _MAX_HTML), quote=True)


def for_json(value: Any, ascii_only: bool = False) -> str:
    """Return a value as JSON, indented by two spaces. What a terminal would not show is escaped.

    NaN and the infinities, for which JSON has no words, become null.
    """
    text = json.dumps(_finite(value), indent=2, ensure_ascii=ascii_only, allow_nan=False)
    return _NOT_ASCII.sub(lambda match: match[0] if match[0].isprintable() else json.dumps(match[0])[1:-1], text)


def _finite(value: Any) -> Any:
    """Return the value with None for each number in it that is not finite."""
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def for_toml(name: str) -> str:
    """Return the name as a TOML string, on which `from_toml` gives the name.

    TOML has no string for bytes that are not UTF-8: such a name is `bytes:` and its bytes as in a URL (conv%FF).
    """
    if name.startswith(_BYTES) or not _is_unicode(name):
        name = _BYTES + quote_from_bytes(encoded(name))
    text = json.dumps(name, ensure_ascii=False)  # JSON's escapes are valid in TOML
    return _NOT_ASCII.sub(lambda match: match[0] if match[0].isprintable() else _toml_escape(match[0]), text)


def from_toml(text: str) -> str:
    """Return the name that a TOML string of `for_toml` stands for; any other string stands for itself."""
    return decoded(unquote_to_bytes(text.removeprefix(_BYTES))) if text.startswith(_BYTES) else text


def for_prototxt(name: str) -> str:
    """Return the name as a prototxt's string, with the bytes of what a terminal would not show escaped."""
    if name.isprintable() and "\\" not in name and '"' not in name:
        return f'"{name}"'
    return f'"{"".join(_PROTOTXT.get(c) or (c if c.isprintable() else _octal(c)) for c in name)}"'


def for_onnx(name: str) -> str:
    r"""Return the name as a protobuf string, which must be UTF-8: other bytes are written as `\xff`."""
    return encoded(name).decode("utf-8", "backslashreplace")


def for_chart(name: str) -> str:
    """Return the name as text for matplotlib, to which `$` begins mathematics."""
    return for_terminal(name).replace("$", r"\$")


def for_markdown(text: str) -> str:
    """Return the text as what may stand in a cell of a Markdown table."""
    return _MARKDOWN.sub(r"\\\g<0>", for_terminal(text))


def for_path(name: str) -> str:
    """Return the name as one part of a path that any system takes. Runs of unsafe characters become `_`.

    A name too long for a file system is cut and ends in a digest of all of it. Two names may give the same path, and
    some systems do not tell A from a: put a number before the name where paths must differ.
    """
    safe = _UNSAFE.sub("_", name)
    if safe in ("", ".", "..") or safe.startswith("-"):  # another folder, or an option
        safe = "_" + safe
    if len(safe) > MAX_PATH:
        safe = f"{safe[: MAX_PATH - _DIGITS - 1]}-{hashlib.sha256(encoded(name)).hexdigest()[:_DIGITS]}"
    return safe


def for_make(file: str) -> str:
    """Return a file's name, which has no line break, as a word of a shell command in a Makefile's recipe."""
    return shlex.quote(f"./{file}" if file.startswith("-") else file).replace("$", "$$")


def _is_unicode(name: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in name)


def _toml_escape(char: str) -> str:
    code = ord(char)
    return f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}"


def _octal(char: str) -> str:
    return "".join(f"\\{byte:03o}" for byte in encoded(char))
