"""The stages as data for the page's script: what layers there are, and where each stage draws which of them."""

from __future__ import annotations

import unicodedata
from typing import Any

from deepmerge.names import for_terminal
from deepmerge.page.layers import Fact
from deepmerge.page.layout import Layout, lay_out
from deepmerge.page.stages import Stage

NEW, GOING = 1, 2  # what a layer is to its stage: made or changed by it; merged or changed by the next one
_CHARACTER, _SMALL = 6.4, 5.6  # widths of a monospaced character at 10.5 and 9.2 pixels
_MOST = 26  # characters of a name; the rest is in the layer's details
_PADDING = 16


def layouts(stages: list[Stage]) -> list[Layout]:
    """Return the place of each stage's layers."""
    return [
        lay_out(list(map(_size, stage.facts)), edges(stage), [for_terminal(fact.group, 60) for fact in stage.facts])
        for stage in stages
    ]


def edges(stage: Stage) -> list[tuple[int, int]]:
    """From each layer to those that read it, by their places."""
    return [(source, target) for target, sources in enumerate(stage.reads) for source in sources]


def marks(stages: list[Stage], number: int) -> list[int]:
    """For each layer of a stage the sum of NEW and GOING."""
    stage = stages[number]
    made = _differing(stages[number - 1], stage) | set(stage.into) if number else set()
    going = set()
    if number + 1 < len(stages):
        following = stages[number + 1]
        going = _differing(following, stage) | set(following.merged)
    return [NEW * (fact.name in made) + GOING * (fact.name in going) for fact in stage.facts]


def _differing(other: Stage, stage: Stage) -> set[str]:
    """Return the layers of `stage` that differ in `other` or are not in it; shapes of tops do not count."""
    known = {fact.name: _identity(fact) for fact in other.facts}
    return {fact.name for fact in stage.facts if known.get(fact.name) != _identity(fact)}


def _identity(fact: Fact) -> tuple:
    return fact.type, fact.settings, fact.weights


def drawn(stages: list[Stage], placed: list[Layout]) -> dict[str, Any]:
    """Return what the script draws, as plain lists and dicts.

    layers: each as it looks somewhere, once; `id` is the same for all looks of one name. stages: nodes as [layer, x, y,
    mark], edges as [source, target, x, y, …] by places in nodes, bands as [name, y].
    """
    looks: dict[tuple[Fact, tuple[str, ...]], int] = {}
    ids: dict[str, int] = {}
    layers: list[dict[str, Any]] = []
    made = []
    for number, (stage, layout) in enumerate(zip(stages, placed, strict=True)):
        nodes = []
        for fact, (x, y), mark in zip(stage.facts, layout.boxes, marks(stages, number), strict=True):
            key = (fact, tuple(_lines(fact)))
            if key not in looks:
                looks[key] = len(layers)
                layers.append(_look(fact, ids.setdefault(fact.name, len(ids))))
            nodes.append([looks[key], x, y, mark])
        lines = [[*edge, *(n for point in layout.routes.get(edge, ()) for n in point)] for edge in edges(stage)]
        drawing = {"w": layout.width, "h": layout.height, "nodes": nodes, "edges": lines, "bands": layout.bands}
        made.append(drawing | _about(stage))
    return {"layers": layers, "stages": made}


def _about(stage: Stage) -> dict[str, Any]:
    """Return what the page says about a stage."""
    passes = (name for entry in stage.entries for name in entry.get("passes", ()))
    return {
        "title": for_terminal(stage.title, 60),
        "index": stage.index,
        "merged": list(map(for_terminal, stage.merged)),
        "into": list(map(for_terminal, stage.into)),
        "passes": list(dict.fromkeys(map(for_terminal, passes))),
        "exact": stage.exact,
        **{key: stage.totals[key] for key in ("layers", "params", "macs")},
    }


def _look(fact: Fact, identity: int) -> dict[str, Any]:
    width, height = _size(fact)
    return {
        "id": identity,
        "name": for_terminal(fact.name),
        "type": for_terminal(fact.type),
        "tensor": int(fact.tensor),
        "lines": _lines(fact),
        "w": width,
        "h": height,
        "weightBytes": fact.weight_bytes,
        **{key: getattr(fact, key) for key in ("settings", "tops", "weights", "params", "macs", "bytes")},
    }


def _lines(fact: Fact) -> list[str]:
    """Return the text of the layer's box: its name without the part that its band shows, and a convolution's window."""
    name = fact.name
    if name.startswith(fact.group) and name[len(fact.group) : len(fact.group) + 1] in ("/", "_"):
        name = name[len(fact.group) + 1 :] or name
    return [_cut(for_terminal(name)), *([_cut(_shape(fact))] if fact.tensor else [])]


def _shape(fact: Fact) -> str:
    """`7×7 /2 → 64`: kernel, stride, outputs."""
    values = dict(setting.split(" ", 1) for setting in fact.settings if " " in setting)
    stride = values.get("stride", "")
    first, _, second = stride.partition("×")
    steps = f"/{first if first == second else stride}" if stride else ""
    group = f"in {values['group']} groups" if "group" in values else ""
    outputs = f"→ {values['num_output']}" if "num_output" in values else fact.type
    return " ".join(part for part in (values.get("kernel", ""), steps, outputs, group) if part)


def _cut(text: str) -> str:
    return text if len(text) <= _MOST else f"{text[: _MOST - 1]}…"


def _size(fact: Fact) -> tuple[int, int]:
    name, *rest = _lines(fact)
    wide = max(_columns(name) * _CHARACTER, max((_columns(line) * _SMALL for line in rest), default=0))
    return max(round(wide) + _PADDING, 40), 34 if fact.tensor else 19


def _columns(text: str) -> int:
    """How many columns of a monospaced type the text takes."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
