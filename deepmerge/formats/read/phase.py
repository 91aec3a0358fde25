"""Which layers belong to a phase. Caffe: net.cpp, FilterNet and StateMeetsRule."""

from __future__ import annotations

from collections.abc import Iterable

from deepmerge.formats.read.scalars import Reader
from deepmerge.formats.read.validate import name_of
from deepmerge.graph.tree import Message


def in_phase(layer: Message, state: Message | None, file, phase: str = "TEST", level: int = 0) -> bool:
    """Return whether the layer is part of the network in `phase`; ReadError for a layer with include and exclude.

    state: the network's own `state { … }`. Its stages count, but not its phase and level, which callers of Caffe's Net
    give.
    """
    includes = [f for f in layer if f.name == "include"]
    excludes = [f for f in layer if f.name == "exclude"]
    error = Reader(layer, "LayerParameter", file, name_of(layer)).error
    if includes and excludes:
        raise error("has both include and exclude; keep one of them", excludes[0])
    for field in (*includes, *excludes):
        if not isinstance(field.value, Message):  # V0's layers have no such field, so that nothing has checked it
            raise error(f"{field.name!r} needs a rule in braces, such as {field.name} {{ phase: TRAIN }}", field)
    stages = set(Reader(state, "NetState", file, "state").all("stage"))
    where = f"{name_of(layer)}, {'include' if includes else 'exclude'}"
    rules = [Reader(f.value, "NetStateRule", file, where) for f in includes or excludes]
    met = any(_meets(rule, phase, stages, level) for rule in rules)
    return met if includes else not met


def left_out_maker(blob: str, layers: Iterable[Message]) -> str:
    """Return which of these layers makes the blob, and the rule that leaves it out, as an error's end; "" if none."""
    for layer in layers:
        rules = [f for f in layer if f.name in ("include", "exclude")]
        if rules and blob in map(str, layer.values("top")):
            said = " ".join(f"{f.name} {{ {' '.join(f'{g.name}: {g.value}' for g in f.value)} }}" for f in rules)
            return f"; {name_of(layer)} makes it, but is left out: it says {said}"
    return ""


def _meets(rule: Reader, phase: str, stages: set[str], level: int) -> bool:
    return not (
        (rule.has("phase") and rule.one("phase") != phase)
        or (rule.has("min_level") and level < rule.one("min_level"))
        or (rule.has("max_level") and level > rule.one("max_level"))
        or any(stage not in stages for stage in rule.all("stage"))
        or any(stage in stages for stage in rule.all("not_stage"))
    )
