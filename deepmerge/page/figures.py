"""Small drawings in SVG that need no script: bars in tables, a network as a strip, layers as columns."""

from __future__ import annotations

from collections.abc import Sequence

from deepmerge.page.layers import Fact
from deepmerge.page.layout import Layout
from deepmerge.page.markup import Html, element, join

TENSOR, OTHER, TOUCHED = "tensor", "other", "touched"  # classes, see page.css


def bar(share: float | None) -> Html:
    """Draw a bar that fills this share of its cell; nothing if there is no share. The figure is beside it, as text."""
    if share is None:
        return Html("")
    width = f"{100 * min(max(share, 0.0), 1.0):.1f}"
    inside = Html(f'<rect class="rail" width="100" height="6"/><rect class="ink" width="{width}" height="6"/>')
    return element("svg", inside, class_="bar", viewBox="0 0 100 6", preserveAspectRatio="none", aria_hidden="true")


def strip(facts: Sequence[Fact], layout: Layout, touched: Sequence[bool], frame: tuple[int, int], label: str) -> Html:
    """Draw a whole network from left to right, a block for each layer. frame: width and height of all strips."""
    paths: dict[str, list[str]] = {OTHER: [], TENSOR: [], TOUCHED: []}
    offset = (frame[1] - layout.width) // 2
    for fact, (x, y), (width, height), special in zip(facts, layout.boxes, layout.sizes, touched, strict=True):
        kind = TOUCHED if special else TENSOR if fact.tensor else OTHER
        paths[kind].append(f"M{y} {x + offset}h{height}v{width}h-{height}z")
    inside = join(element("path", class_=kind, d="".join(parts)) for kind, parts in paths.items() if parts)
    size = f"0 -4 {frame[0]} {frame[1] + 8}"
    return element(
        "svg", inside, class_="strip", viewBox=size, preserveAspectRatio="none", role="img", aria_label=label
    )


def columns(values: Sequence[float], kinds: Sequence[str], top: float, slots: int, label: str) -> Html:
    """Draw a column for each layer in order. top: the value of a full column. slots: how many columns fit."""
    paths: dict[str, list[str]] = {}
    for index, (value, kind) in enumerate(zip(values, kinds, strict=True)):
        height = round(100 * value / top, 1) if top else 0
        if height > 0:
            paths.setdefault(kind, []).append(f"M{index * 10 + 1} 100h8v-{max(height, 0.4):g}h-8z")
    inside = join(element("path", class_=kind, d="".join(paths[kind])) for kind in sorted(paths))
    base = Html(f'<path class="base" d="M0 100h{10 * slots}"/>')
    size = f"0 0 {10 * slots} 101"
    return element(
        "svg",
        join([inside, base]),
        class_="columns",
        viewBox=size,
        preserveAspectRatio="none",
        role="img",
        aria_label=label,
    )
