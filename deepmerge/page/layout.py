"""The place of each layer in a drawing: rows from top to bottom, with edges between the layers."""

from __future__ import annotations

from dataclasses import dataclass

from deepmerge.page.ordering import Grid, arrange, chains

GAP_X = 10  # between neighbours in a row
GAP_Y = 7  # between rows that are joined by straight lines alone
BEND_Y = 22  # between others
BAND_Y = 20  # more of it where another part of the network begins
BEND_WIDTH = 8
ROUNDS = 6


@dataclass(frozen=True)
class Layout:
    """Whole units (CSS pixels at full size).

    boxes: x, y of each layer's top left corner. routes: for each edge (source, target), the points that it passes.
    bands: the parts of the network from top to bottom, each with the y of its upper edge. sizes: as they were given.
    """

    width: int
    height: int
    boxes: list[tuple[int, int]]
    routes: dict[tuple[int, int], list[tuple[int, int]]]
    bands: list[tuple[str, int]]
    sizes: list[tuple[int, int]]


def lay_out(sizes: list[tuple[int, int]], edges: list[tuple[int, int]], groups: list[str]) -> Layout:
    """Lay out layers of these widths and heights. edges: from lower to higher numbers. groups: each layer's part."""
    if not sizes:
        return Layout(0, 0, [], {}, [], [])
    grid = arrange(len(sizes), edges)
    widths = _columns(sizes, edges) + [BEND_WIDTH] * len(grid.bends)
    centres = _centres(grid, widths)
    left = min(c - w / 2 for c, w in zip(centres, widths, strict=True))
    centres = [c - left for c in centres]
    parts = [groups[min(item for item in row if item < len(sizes))] for row in grid.rows]
    tops, middles = _heights(grid, centres, [height for _, height in sizes], parts)
    boxes = []
    for item, (width, height) in enumerate(sizes):
        boxes.append((round(centres[item] - width / 2), round(middles[grid.row_of[item]] - height / 2)))
    routes = {edge: _bends(passed, centres, grid, middles) for edge, passed in grid.routes.items()}
    width = max(c + w / 2 for c, w in zip(centres, widths, strict=True))
    bands = [(part, tops[i]) for i, part in enumerate(parts) if not i or part != parts[i - 1]]
    return Layout(round(width), tops[-1], boxes, routes, bands, list(sizes))


def _columns(sizes: list[tuple[int, int]], edges: list[tuple[int, int]]) -> list[int]:
    """Return the width that each layer takes in its row: the widest of its chain, so that chains can be straight."""
    room = [0] * len(sizes)
    for chain in chains(len(sizes), edges):
        widest = max(sizes[layer][0] for layer in chain)
        for layer in chain:
            room[layer] = widest
    return room


def _centres(grid: Grid, widths: list[int]) -> list[float]:
    """Each item near the middle of those that it is joined to; rows from top and from the bottom in turn."""
    centres = [0.0] * len(widths)
    for row in grid.rows:
        _place(row, [0.0] * len(row), [1.0] * len(row), widths, centres)
    for round_ in range(ROUNDS):
        downwards = round_ % 2 == 0
        near = grid.up if downwards else grid.down
        for row in grid.rows if downwards else grid.rows[::-1]:
            wanted, weights = [], []
            for item in row:
                joined = near[item]
                wanted.append(sum(centres[i] for i in joined) / len(joined) if joined else centres[item])
                straight = item in grid.bends and len(joined) == 1 and joined[0] in grid.bends
                weights.append(8.0 if straight else 1.0 + len(joined) if joined else 0.2)
            _place(row, wanted, weights, widths, centres)
    return centres


def _place(row: list[int], wanted: list[float], weights: list[float], widths: list[int], centres: list[float]) -> None:
    """Return the places nearest to `wanted` (least squares) that keep order and gaps: pool adjacent violators."""
    offset, shift = 0.0, []
    for index, item in enumerate(row):
        if index:
            offset += (widths[row[index - 1]] + widths[item]) / 2 + GAP_X
        shift.append(offset)
    blocks: list[list[float]] = []  # mean, weight, items
    for want, weight, by in zip(wanted, weights, shift, strict=True):
        blocks.append([want - by, weight, 1])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            mean, weight_, items = blocks.pop()
            last = blocks[-1]
            last[0] = (last[0] * last[1] + mean * weight_) / (last[1] + weight_)
            last[1] += weight_
            last[2] += items
    index = 0
    for mean, _, items in blocks:
        for _ in range(int(items)):
            centres[row[index]] = mean + shift[index]
            index += 1


def _heights(grid: Grid, centres: list[float], heights: list[int], parts: list[str]) -> tuple[list[int], list[float]]:
    """Return the top of each row and the end (with room above a row where a part begins), and each row's middle."""
    tops, middles, y = [], [], 0
    for index, row in enumerate(grid.rows):
        tall = max(heights[item] for item in row if item < len(heights))
        tops.append(y)
        y += BAND_Y * (not index or parts[index] != parts[index - 1])
        middles.append(y + tall / 2)
        straight = all(abs(centres[item] - centres[other]) < 2 for item in row for other in grid.down[item])
        y += tall + (GAP_Y if straight else BEND_Y)
    tops.append(y)
    return tops, middles


def _bends(passed: list[int], centres: list[float], grid: Grid, middles: list[float]) -> list[tuple[int, int]]:
    """Return the points of a route without those in the middle of a straight run."""
    points = [(round(centres[item]), round(middles[grid.row_of[item]])) for item in passed]
    return [
        p
        for i, p in enumerate(points)
        if not (0 < i < len(points) - 1 and points[i - 1][0] == p[0] == points[i + 1][0])
    ]
