"""Whatever stands in whichever field of whichever layer: a network with all its figures, or an error of the reader's."""

from __future__ import annotations

import random

import pytest

from deepmerge.errors import GraphError, ReadError
from deepmerge.formats import schema
from deepmerge.formats.read import read_network
from deepmerge.formats.read.forks import MESSAGES
from deepmerge.graph.costs import layer_costs, shapes_of_one, summary
from deepmerge.graph.types import TYPES

INPUTS = {
    "x": (2, 6, 4, 5),
    "like": (1, 2, 3, 4),
    "flat": (2, 6),
    "line": (2, 6, 9),
    "cube": (1, 6, 4, 3, 5),
    "one": (3,),
    "none": (),
}
WHOLE = (
    0,
    1,
    2,
    3,
    4,
    6,
    7,
    9,
    -1,
    -2,
    -5,
    33,
    2**16,
    2**31 - 1,
    2**31,
    2**32 - 1,
    -(2**31),
    2**63 - 1,
    -(2**63),
    10**30,
)
REAL = ("0", "1", "-1", ".5", "2.f", "1e-45", "-1e39", "nan", "inf", "-inf", "1e400", "3")
NETWORKS = 400


def fields_of(kind: str) -> tuple[str, dict]:
    """The layer's own message, and its fields."""
    name = TYPES[kind].params.FIELD
    known = schema.fields("LayerParameter")
    if name in known:
        return name, dict(schema.fields(known[name].type_name)) | dict(MESSAGES.get(name, {}))
    return name, dict(MESSAGES.get(name, {}))


def value(field, chance: random.Random) -> str:
    if field.kind in ("float", "double"):
        return chance.choice(REAL)
    if field.kind == "bool":
        return chance.choice(("true", "false", "1", "2"))
    if field.kind == "enum":
        return chance.choice((*schema.enum_values(field.type_name), "OTHER", "0", "9"))
    if field.kind == "message":
        return "{ " + " ".join(f"dim: {chance.choice(WHOLE[:11])}" for _ in range(chance.randrange(5))) + " }"
    if field.kind in ("string", "bytes"):
        return chance.choice(('"x"', '"nearest"', '""', '"\\n"'))
    return str(chance.choice(WHOLE[: chance.choice((4, 9, 11, len(WHOLE)))]))


def parameters(kind: str, chance: random.Random) -> str:
    name, known = fields_of(kind)
    if not name or not known:
        return ""
    chosen = chance.sample(sorted(known), min(len(known), chance.randrange(5)))
    if "num_output" in known and chance.random() < 0.8:
        chosen = list(dict.fromkeys([*chosen, "num_output", *(["kernel_size"] if "kernel_size" in known else [])]))
    texts = [
        f"{f}: {value(known[f], chance)}"
        for f in chosen
        for _ in range(chance.choice((1, 1, 2, 3)) if known[f].repeated else 1)
    ]
    return f"{name} {{ {' '.join(texts)} }}"


def network(chance: random.Random) -> str:
    """Some inputs, and a few layers behind them and behind each other."""
    lines = [
        f'layer {{ name: "{n}" type: "Input" top: "{n}" input_param {{ shape {{ {" ".join(f"dim: {d}" for d in s)} }} }} }}'
        for n, s in INPUTS.items()
    ]
    made = [*INPUTS, "x", "x", "x"]
    for index in range(chance.randrange(1, 4)):
        kind = chance.choice(sorted(TYPES))
        bottoms = [chance.choice(made) for _ in range(chance.choice((0, 1, 1, 1, 1, 2, 2, 3)))]
        tops = [f"t{index}_{i}" for i in range(chance.choice((0, 1, 1, 1, 1, 2, 3)))]
        ends = " ".join([f'bottom: "{b}"' for b in bottoms] + [f'top: "{t}"' for t in tops])
        more = chance.choice(
            ("", "", "", "loss_weight: 1.f", 'param { name: "w" } param { }', "phase: TEST", "include { phase: TRAIN }")
        )
        lines.append(f'layer {{ name: "l{index}" type: "{kind}" {ends} {more} {parameters(kind, chance)} }}')
        made += tops
    return "\n".join(lines) + "\n"


def look(text: str, path) -> bool:
    """Whether it is a network."""
    path.write_text(text)
    try:
        graph = read_network(path)
        shapes = shapes_of_one(graph)
        layer_costs(graph, shapes)
        summary(graph, shapes)
    except (ReadError, GraphError) as error:
        assert str(error).isprintable()
        return False
    return True


@pytest.mark.parametrize("part", range(2))
def test_any_values(tmp_path, part):
    good = 0
    for seed in range(part * NETWORKS, (part + 1) * NETWORKS):
        text = network(random.Random(seed))
        try:
            good += look(text, tmp_path / "net.prototxt")
        except Exception as error:
            pytest.fail(f"seed {seed}: {type(error).__name__}: {error}\n{text}")
    assert good > NETWORKS / 20
