"""Older ways to write a network, brought to today's before anything else looks at the tree."""

from __future__ import annotations

from pathlib import Path

from deepmerge.errors import ReadError
from deepmerge.graph.tree import Field, Message, Quoted


def refuse_legacy(net: Message, file: str | Path) -> None:
    """ReadError for a file that mixes `layer` and `layers`, or that has `layers` alone (V0 and V1)."""
    old = next((f for f in net if f.name == "layers"), None)
    new = next((f for f in net if f.name == "layer"), None)
    if old and new:
        where = f"`layer` (line {new.line}) and `layers` (line {old.line})"
        text = f"mixes {where}, and Caffe would lose some of them; write all as `layer`"
        raise ReadError(text, file, old.line, old.column)
    if old:
        text = "is in a legacy format (`layers`); convert it with Caffe's upgrade_net_proto_text first"
        raise ReadError(text, file, old.line, old.column)


def upgrade(net: Message, file: str | Path) -> Message:
    """A tree in today's (V2) form. Caffe: upgrade_proto.cpp, UpgradeNetAsNeeded.

    ReadError for a file without `layer`, and for `input` without shapes.
    """
    if "layer" not in net:
        names = ", ".join(list(dict.fromkeys(f.name for f in net))[:5])
        raise ReadError(f"holds no `layer`, only {names}; is it a network's prototxt (not a solver's)?", file)
    return _upgrade_inputs(net, file)


def _upgrade_inputs(net: Message, file) -> Message:
    """`input` with `input_shape` or `input_dim` becomes an Input layer. Caffe: UpgradeNetInput."""
    names = [f for f in net if f.name == "input"]
    if not names:
        return net
    at = names[0]
    layer = Message([], at.line, at.column)
    layer.add("name", Quoted("input"))
    layer.add("type", Quoted("Input"))
    layer.fields += [Field("top", f.value, f.line, f.column) for f in names]
    layer.add("input_param", Message(_input_shapes(net, names, file), at.line, at.column))
    rest = [f for f in net if f.name not in ("input", "input_shape", "input_dim")]
    first = next(i for i, f in enumerate(rest) if f.name == "layer")
    return Message(rest[:first] + [Field("layer", layer, at.line, at.column)] + rest[first:], net.line, net.column)


def _input_shapes(net: Message, names: list[Field], file) -> list[Field]:
    """A `shape` for each input; where both spellings stand, input_shape wins, as in Caffe."""
    shapes = [Field("shape", f.value, f.line, f.column) for f in net if f.name == "input_shape"]
    dims = [Field("dim", f.value, f.line, f.column) for f in net if f.name == "input_dim"]
    at = names[0]
    if shapes and len(shapes) != len(names):
        text = f"{len(names)} `input` but {len(shapes)} `input_shape`; give one each"
        raise ReadError(text, file, at.line, at.column)
    if shapes:
        return shapes
    if len(dims) != 4 * len(names):
        wanted = f"{4 * len(names)} `input_dim`, or one `input_shape` each"
        text = f"{len(names)} `input` want {wanted}, found {len(dims)} `input_dim`"
        raise ReadError(text, file, at.line, at.column)
    return [Field("shape", Message(dims[i : i + 4], dims[i].line, dims[i].column)) for i in range(0, len(dims), 4)]
