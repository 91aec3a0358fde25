"""V0 and V1 networks of random fields with random values, as Caffe's schema allows them. Seeded."""

from __future__ import annotations

import random

from deepmerge.formats import schema
from deepmerge.formats.read.legacy import v0
from deepmerge.formats.write.prototxt import format_tree
from deepmerge.graph.tree import Message, Quoted, Token

WORDS = ("", "a", "conv1/3x3", 'with "quotes"', "/data/train")
NUMBERS = ("0", "1", "-1", "0.1", "1e-05", "117.5", "3")
DATA = ("DATA", "IMAGE_DATA", "WINDOW_DATA")  # more often than their share


def v1_net(seed: int) -> str:
    """A network of V1 layers of every type but REVERSE, which real Caffe's upgrade has forgotten."""
    rng = random.Random(seed)
    net = message(rng, "NetParameter", 0.3, without=("layer", "layers", "input", "input_dim", "input_shape"))
    kinds = [k for k in schema.enum_values("V1LayerParameter.LayerType") if k != "REVERSE"]
    for _ in range(8):
        layer = message(rng, "V1LayerParameter", 0.2, without=("layer", "type", "reverse_param"))
        layer.add("type", Token(rng.choice((rng.choice(kinds), rng.choice(DATA)))))
        net.add("layers", shuffled(rng, layer))
    return format_tree(shuffled(rng, net))


def v0_net(seed: int) -> str:
    """A network of V0 layers, some of them padding layers before a conv or pool layer."""
    rng = random.Random(seed)
    net = message(rng, "NetParameter", 0.3, without=("layer", "layers", "input", "input_dim", "input_shape"))
    net.add("input", Quoted("b0"))
    for dim in (1, 2, 3, 4):
        net.add("input_dim", Token(dim))
    blobs, padded = ["b0"], None
    for index in range(1, 10):
        kind = rng.choice(("conv", "pool")) if padded else rng.choice((*v0.TYPES, "padding", "padding"))
        bottoms = (
            [padded] if padded else rng.sample(blobs, 1 if kind == "padding" else rng.randint(0, min(2, len(blobs))))
        )
        layer = message(rng, "V1LayerParameter", 0.02, without=("layer", "bottom", "top", "reverse_param"))
        inner = message(rng, "V0LayerParameter", 0.3, without=("type",))
        inner.add("type", Quoted(kind))
        layer.add("layer", shuffled(rng, inner))
        for bottom in bottoms:
            layer.add("bottom", Quoted(bottom))
        layer.add("top", Quoted(f"b{index}"))
        padded = f"b{index}" if kind == "padding" else None
        blobs += [] if padded else [f"b{index}"]
        net.add("layers", shuffled(rng, layer))
    return format_tree(net)


def message(rng: random.Random, type_name: str, share: float, without: tuple[str, ...] = (), depth: int = 0) -> Message:
    """A message with about this share of its type's fields, each with a value that fits."""
    made = Message()
    for name, field in schema.fields(type_name).items():
        if name in without or rng.random() > share:
            continue
        for _ in range(rng.randint(1, 3) if field.repeated else 1):
            value = _value(rng, field, depth)
            if value is not None:
                made.add(name, value)
    return made


def shuffled(rng: random.Random, tree: Message) -> Message:
    """The same fields in another order; that of each field's own values stays."""
    order = [f.name for f in tree]
    rng.shuffle(order)
    values = {name: iter(tree.values(name)) for name in order}
    made = Message()
    for name in order:
        made.add(name, next(values[name]))
    return made


def _value(rng: random.Random, field: schema.Field, depth: int) -> Message | Quoted | Token | None:
    if field.kind == "message":
        return message(rng, field.type_name, 0.4, depth=depth + 1) if depth < 3 else None
    if field.kind in ("string", "bytes"):
        return Quoted(rng.choice(WORDS))
    if field.kind == "enum":
        return Token(rng.choice(list(schema.enum_values(field.type_name))))
    if field.kind == "bool":
        return Token(rng.choice(("true", "false")))
    if field.kind in ("float", "double"):
        return Token(rng.choice(NUMBERS))
    return Token(rng.choice((0, 1, 2, 227)))
