"""Messages keep order and multiplicity; a singular field is read as protobuf reads it."""

from __future__ import annotations

from deepmerge.graph import Field, Message, Quoted, Token


def message(*pairs) -> Message:
    return Message([Field(name, value) for name, value in pairs])


def names(tree: Message) -> list[str]:
    return [field.name for field in tree]


def test_values_in_order_and_the_last_one_wins():
    tree = message(("pad", Token("1")), ("stride", Token("2")), ("pad", Token("3")))
    assert tree.values("pad") == ["1", "3"]
    assert tree.value("pad") == "3"
    assert tree.values("kernel") == [] and tree.value("kernel") is None
    assert "pad" in tree and "kernel" not in tree
    assert names(tree) == ["pad", "stride", "pad"]


def test_submessages_are_merged():
    first, second = message(("a", Token("1"))), message(("a", Token("2")), ("b", Token("3")))
    tree = message(("p", first), ("q", Token("7")), ("p", second))
    assert tree.message("p").values("a") == ["1", "2"]
    assert tree.message("p").value("a") == "2"
    assert tree.message("q") is None and tree.message("r") is None
    assert message(("p", first)).message("p") is first


def test_merging_changes_neither_part():
    first, second = message(("a", Token("1"))), message(("b", Token("2")))
    message(("p", first), ("p", second)).message("p").add("c", Token("3"))
    assert names(first) == ["a"] and names(second) == ["b"]


def test_set_replaces_in_place_or_appends():
    tree = message(("a", Token("1")), ("b", Token("2")), ("a", Token("3")), ("c", Token("4")))
    tree.set("a", Token("9"))
    assert [(f.name, f.value) for f in tree] == [("a", "9"), ("b", "2"), ("c", "4")]
    tree.set("d", Token("5"), Token("6"))
    assert names(tree) == ["a", "b", "c", "d", "d"]
    tree.set("b")
    assert names(tree) == ["a", "c", "d", "d"]


def test_add_and_remove():
    tree = Message()
    tree.add("a", Quoted("x"))
    tree.add("b", Token("1"))
    tree.add("a", Quoted("y"))
    assert tree.values("a") == ["x", "y"] and isinstance(tree.value("a"), Quoted)
    tree.remove("a", "missing")
    assert names(tree) == ["b"]


def test_a_copy_is_deep_and_keeps_places():
    inner = Message([Field("a", Token("1"), 4, 7)], 3, 5)
    tree = Message([Field("p", inner, 3, 1)], 2, 1)
    twin = tree.copy()
    assert twin == tree
    twin.message("p").set("a", Token("2"))
    twin.add("q", Token("3"))
    assert inner.value("a") == "1" and names(tree) == ["p"]
    assert (twin.fields[0].line, twin.message("p").column) == (3, 5)
