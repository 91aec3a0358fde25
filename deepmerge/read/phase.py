"""Which layers belong to a phase. Caffe: net.cpp, FilterNet and StateMeetsRule."""

from __future__ import annotations

from deepmerge.graph.tree import Field, Message
from deepmerge.read.scalars import Reader


def in_phase(layer: Message, state: Message, file, where: str, phase: str = "TEST") -> bool:
    """Whether the layer is part of the network in `phase`; ReadError for include and exclude in one layer."""
    includes = [f for f in layer if f.name == "include"]
    excludes = [f for f in layer if f.name == "exclude"]
    if includes and excludes:
        raise Reader(layer, "LayerParameter", file, where).error("has both include and exclude; keep one of them", excludes[0])
    net = Reader(state, "NetState", file, where)
    if includes:
        return any(_meets(f, net, phase, file, where) for f in includes)
    return not any(_meets(f, net, phase, file, where) for f in excludes)


def _meets(field: Field, net: Reader, phase: str, file, where: str) -> bool:
    rule = Reader(field.value if isinstance(field.value, Message) else None, "NetStateRule", file, f"{where}, {field.name}")
    level, stages = net.one("level") or 0, set(net.all("stage"))
    return not (
        (rule.has("phase") and rule.one("phase") != phase)
        or (rule.has("min_level") and level < rule.one("min_level"))
        or (rule.has("max_level") and level > rule.one("max_level"))
        or any(stage not in stages for stage in rule.all("stage"))
        or any(stage in stages for stage in rule.all("not_stage"))
    )
