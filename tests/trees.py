"""Prototxt trees to test with: compared without positions, and made up by hypothesis."""

from __future__ import annotations

from hypothesis import strategies as st

from deepmerge.graph.tree import Message, Quoted, Token


def plain(tree: Message) -> list:
    """[(name, value)], values as ("quoted" or "bare", text) or such a list: what must survive writing and reading."""
    return [(f.name, plain(f.value) if isinstance(f.value, Message) else _scalar(f.value)) for f in tree]


def _scalar(value: Quoted | Token) -> tuple[str, str]:
    return "quoted" if isinstance(value, Quoted) else "bare", str(value)


def made(fields: list[tuple]) -> Message:
    """A tree from (name, value) pairs; a list is a message."""
    tree = Message()
    for name, value in fields:
        tree.add(name, made(value) if isinstance(value, list) else value)
    return tree


names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)
strings = st.one_of(st.text(max_size=12), st.binary(max_size=6).map(lambda b: b.decode("utf-8", "surrogateescape")))
tokens = st.one_of(
    st.integers(-(2**63), 2**64).map(str),
    st.floats(width=16).map(repr).map(lambda text: text if len(text) < 8 else "0.5"),
    names,
    st.sampled_from(["0x1F", "010", "1e-5", "-.5", "1.f", "-inf", "nan"]),
)
scalars = st.one_of(strings.map(Quoted), tokens.map(Token))
trees = st.recursive(
    st.lists(st.tuples(names, scalars), max_size=4),
    lambda inner: st.lists(st.tuples(names, st.one_of(scalars, inner)), max_size=4),
    max_leaves=20,
).map(made)
