"""Older ways to write a network, brought to today's before anything else looks at the tree."""

from __future__ import annotations

from pathlib import Path

from deepmerge.errors import ReadError
from deepmerge.graph.tree import Field, Message, Quoted, Token


def upgrade(net: Message, file: str | Path) -> Message:
    """A tree in today's (V2) form. Caffe: upgrade_proto.cpp, UpgradeNetAsNeeded.

    ReadError for a file that mixes `layer` and `layers`, or that has `layers` alone (V0 and V1).
    """
    old = next((f for f in net if f.name == "layers"), None)
    new = next((f for f in net if f.name == "layer"), None)
    if old and new:
        raise ReadError(
            f"mixes `layer` (line {new.line}) and `layers` (line {old.line}), and Caffe would lose the latter; write all as `layer`",
            file, old.line, old.column,
        )  # fmt: skip
    if old:
        raise ReadError("is in a legacy format (`layers`); convert it with Caffe's upgrade_net_proto_text first", file, old.line, old.column)
    if new is None:
        names = ", ".join(sorted({f.name for f in net})[:5])
        raise ReadError(f"holds no `layer`, only {names}; is it a network's prototxt (not a solver's)?", file)
    return _upgrade_inputs(net, file)


def _upgrade_inputs(net: Message, file) -> Message:
    """`input` with `input_shape` or `input_dim` becomes an Input layer. Caffe: UpgradeNetInput."""
    names = [f for f in net if f.name == "input"]
    shapes = [v for v in net.values("input_shape") if isinstance(v, Message)]
    dims = net.values("input_dim")
    if not names:
        return net
    if not shapes:
        if len(dims) != 4 * len(names):
            raise ReadError(f"{len(names)} `input` want {4 * len(names)} `input_dim` or one `input_shape` each, found {len(dims)}",
                            file, names[0].line, names[0].column)  # fmt: skip
        shapes = [Message([Field("dim", d) for d in dims[4 * i : 4 * i + 4]]) for i in range(len(names))]
    elif len(shapes) != len(names):
        raise ReadError(f"{len(names)} `input` but {len(shapes)} `input_shape`; give one each", file, names[0].line, names[0].column)
    layer = Message([], names[0].line, names[0].column)
    layer.add("name", Quoted("input"))
    layer.add("type", Quoted("Input"))
    for field in names:
        layer.add("top", Quoted(field.value))
    layer.add("input_param", Message([Field("shape", shape) for shape in shapes]))
    rest = [f for f in net if f.name not in ("input", "input_shape", "input_dim")]
    first = next(i for i, f in enumerate(rest) if f.name == "layer")
    return Message(rest[:first] + [Field("layer", layer, layer.line, layer.column)] + rest[first:], net.line, net.column)


def state_of(net: Message) -> Message:
    """The network's own NetState (`state { … }`), for the phase filter."""
    return net.message("state") or Message([Field("phase", Token("TEST"))])
