"""Drawings in SVG that need no script: bars, a network as a strip, layers as columns, speed against accuracy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from deepmerge.page.layers import Fact
from deepmerge.page.layout import Layout
from deepmerge.page.markup import Html, element, join

TENSOR, OTHER, TOUCHED = "tensor", "other", "touched"  # classes, see page.css
WIDTH, HEIGHT = 560, 330
LEFT, RIGHT, TOP, BOTTOM = 52, 18, 26, 44


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
    inside = (element("path", class_=kind, d="".join(parts)) for kind, parts in paths.items() if parts)
    return _stretched("strip", f"0 -4 {frame[0]} {frame[1] + 8}", label, *inside)


def columns(values: Sequence[float], kinds: Sequence[str], top: float, slots: int, label: str) -> Html:
    """Draw a column for each layer in order. top: the value of a full column. slots: how many columns fit."""
    paths: dict[str, list[str]] = {}
    for index, (value, kind) in enumerate(zip(values, kinds, strict=True)):
        height = round(100 * value / top, 1) if top else 0
        if height > 0:
            paths.setdefault(kind, []).append(f"M{index * 10 + 1} 100h8v-{max(height, 0.4):g}h-8z")
    inside = (element("path", class_=kind, d="".join(paths[kind])) for kind in sorted(paths))
    base = Html(f'<path class="base" d="M0 100h{10 * slots}"/>')
    return _stretched("columns", f"0 0 {10 * slots} 101", label, *inside, base)


def _stretched(class_: str, frame: str, label: str, *inside: Html) -> Html:
    """Draw what fills its place in both directions."""
    looks = {"class_": class_, "viewBox": frame, "preserveAspectRatio": "none"}
    return element("svg", *inside, **looks, role="img", aria_label=label)


@dataclass(frozen=True)
class Line:
    """name, and its points: what is shown at each (a step's number), speed, accuracy (0 to 1)."""

    name: str
    points: Sequence[tuple[str, float, float]]


def speed_chart(lines: Sequence[Line], across: str, up: str, label: str) -> Html:
    """Draw a chart of lines. across, up: what the axes show. The last line has the accent colour, the others dashes."""
    speeds = [x for line in lines for _, x, _ in line.points]
    shares = [y for line in lines for _, _, y in line.points]
    xs, ys = _ticks(min(*speeds, 1.0), max(speeds)), _ticks(min(shares), max(*shares, min(shares) + 0.05))
    to_x = _scale(xs, LEFT, WIDTH - RIGHT)
    to_y = _scale(ys, HEIGHT - BOTTOM, TOP)
    parts = [*_axes(xs, ys, to_x, to_y, across, up)]
    for number, line in enumerate(lines):
        parts += _drawn(line, to_x, to_y, number, number == len(lines) - 1)
    inside = join(parts, "\n")
    return element("svg", inside, class_="chart", viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=label)


def _axes(xs: list[float], ys: list[float], to_x, to_y, across: str, up: str):
    for y in ys:
        yield Html(f'<path class="grid" d="M{LEFT} {to_y(y)}H{WIDTH - RIGHT}"/>')
        yield _text(LEFT - 8, to_y(y) + 4, f"{100 * y:.4g}", "end")
    for x in xs:
        yield _text(to_x(x), HEIGHT - BOTTOM + 18, f"{x:.4g}×", "middle")
    yield _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, across, "middle", "axis")
    yield _text(LEFT - 8, 12, up, "start", "axis")


def _drawn(line: Line, to_x, to_y, number: int, last: bool):
    kind = "last" if last else f"line{min(number, 2)}"
    places = [(name, round(to_x(x), 1), round(to_y(y), 1)) for name, x, y in line.points]
    yield Html(f'<path class="series {kind}" d="M{"L".join(f"{x:g} {y:g}" for _, x, y in places)}"/>')
    for _, x, y in places:
        yield Html(f'<circle class="{kind}" cx="{x:g}" cy="{y:g}" r="3.2"/>')
    for name, x, y in _apart(places):
        yield _text(x, y, name, "middle", "point")


def _apart(places: list[tuple[str, float, float]]):
    """Place the points' names above or below them, none over another; leave out those that do not fit."""
    taken: list[tuple[float, float, float]] = []
    for name, x, y in places:
        half = 3.5 * len(name) + 1
        for at in (y - 7, y + 16):
            if all(abs(x - other) >= half + width or abs(at - height) >= 11 for other, height, width in taken):
                taken.append((x, at, half))
                yield name, x, at
                break


def _text(x: float, y: float, text: str, anchor: str, class_: str | None = None) -> Html:
    return element("text", text, x=f"{x:g}", y=f"{y:g}", text_anchor=anchor, class_=class_)


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers around low and high, 4 to 8 of them."""
    span = max(high - low, abs(high) * 1e-3, 1e-9)
    unit = 10 ** math.floor(math.log10(span / 5))
    unit *= next(factor for factor in (1, 2, 5, 10) if span / (unit * factor) <= 6)
    first, last = math.floor(low / unit + 1e-9), math.ceil(high / unit - 1e-9)
    return [round(i * unit, 12) for i in range(first, max(last, first + 1) + 1)]


def _scale(ticks: list[float], start: float, end: float):
    low, high = ticks[0], ticks[-1]
    return lambda value: round(start + (end - start) * (value - low) / (high - low), 1)
