"""Where the work is, layer by layer and by type: counted, not measured."""

from __future__ import annotations

from collections import defaultdict

from deepmerge.page.layers import Fact
from deepmerge.page.markup import Html, code, element, join, table
from deepmerge.page.stages import Stage
from deepmerge.page.svg import OTHER, TENSOR, bar, columns
from deepmerge.text import scaled, size


def profiles(stages: list[Stage]) -> Html:
    """MACs and activation bytes of each layer, before and after, at one scale."""
    ends = _ends(stages)
    parts = []
    for name, key, form in (("MACs", "macs", scaled), ("activation bytes", "bytes", size)):
        top = max(getattr(fact, key) for _, facts in ends for fact in facts)
        slots = max(len(facts) for _, facts in ends)
        rows = [_row(title, facts, key, top, slots, f"{name} of each layer, {title.lower()}") for title, facts in ends]
        parts.append(element("h3", f"{name[0].upper()}{name[1:]} of each layer; a full column is {form(top)}"))
        parts.append(element("div", *rows, class_="profile"))
    return join(parts, "\n")


def _row(title: str, facts: list[Fact], key: str, top: float, slots: int, label: str) -> Html:
    values = [getattr(fact, key) for fact in facts]
    most = max(facts, key=lambda fact: getattr(fact, key))
    label += f": most in {most.name}"
    drawing = columns(values, [TENSOR if fact.tensor else OTHER for fact in facts], top, slots, label)
    return element("figure", element("figcaption", title), drawing)


def by_type(stages: list[Stage]) -> Html:
    """Layers, MACs and activation bytes by type, before and after."""
    ends = _ends(stages)
    sums: dict[str, list[list[int]]] = defaultdict(lambda: [[0, 0, 0] for _ in ends])
    for index, (_, facts) in enumerate(ends):
        for fact in facts:
            if fact.type != "Input":
                found = sums[fact.type][index]
                found[0] += 1
                found[1] += fact.macs
                found[2] += fact.bytes
    counted = [f"{what}, {title.lower()}" for what in ("layers", "MACs", "activations") for title, _ in ends]
    head = ["type", *counted, ""]
    whole = sum(found[0][2] for found in sums.values())
    rows = []
    for kind, found in sorted(sums.items(), key=lambda item: (-item[1][0][2], item[0])):
        cells = [_cell(form, one[what]) for what, form in enumerate(("{:,}".format, scaled, size)) for one in found]
        rows.append((kind, *cells, bar(found[-1][2] / whole if whole else None)))
    caption = "By type, for one image; the bars are the activations that are left, as a share of all there were"
    return table(caption, head, rows, "l" + "r" * (len(head) - 2), "types")


def every_layer(stages: list[Stage]) -> Html:
    """Every layer, before and after, folded away."""
    parts = []
    for title, facts in _ends(stages):
        summary = element("summary", f"Every layer, {title.lower()} ({len(facts):,})")
        parts.append(element("details", summary, _layers(title, facts), class_="every"))
    return join(parts)


def _layers(title: str, facts: list[Fact]) -> Html:
    rows = []
    for fact in facts:
        numbers = scaled(fact.params) if fact.params else "", scaled(fact.macs) if fact.macs else "", size(fact.bytes)
        rows.append((code(fact.name), fact.type, ", ".join(fact.settings), " ".join(fact.tops), *numbers))
    head = ("layer", "type", "settings", "top", "parameters", "MACs", "top, bytes")
    return table(f"Every layer, {title.lower()}", head, rows, "llllrrr", "layers")


def _cell(form, value: int) -> str:
    return form(value) if value else ""


def _ends(stages: list[Stage]) -> list[tuple[str, list[Fact]]]:
    if len(stages) == 1:
        return [("As it is", stages[0].facts)]
    first = "Before" if stages[0].title == "Original" else f"After {stages[0].title}"
    return [(first, stages[0].facts), ("After", stages[-1].facts)]
