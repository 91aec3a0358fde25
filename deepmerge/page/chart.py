"""Speed against accuracy: a line through the steps for each way of having recovered them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from deepmerge.page.markup import Html, element, join

WIDTH, HEIGHT = 560, 330
LEFT, RIGHT, TOP, BOTTOM = 52, 18, 26, 44


@dataclass(frozen=True)
class Line:
    """name, and its points: what stands at each (a step's number), speed, accuracy (0 to 1)."""

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
