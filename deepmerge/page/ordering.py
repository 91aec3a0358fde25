"""Rows of a layered drawing, and the order within each: longest path, then barycentres.

Source: Sugiyama, Tagawa and Toda (1981).

Items 0 … n-1 are the layers. An edge that passes rows gets an item in each of them (one for all edges of a layer),
which leads it around the layers in between.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from dataclasses import dataclass, field

SWEEPS = 8
MOST_BENDS = 20_000  # items for passing edges; beyond, the longest edges are drawn straight


@dataclass
class Grid:
    """rows: the items of each row, from left to right. up, down: the items that an item is joined to.

    bends: for an item that is not a layer, the layer whose edge it is on. routes: for each edge the items that it
    passes.
    """

    rows: list[list[int]]
    row_of: list[int]
    up: list[list[int]]
    down: list[list[int]]
    bends: dict[int, int] = field(default_factory=dict)
    routes: dict[tuple[int, int], list[int]] = field(default_factory=dict)


def longest_paths(count: int, edges: list[tuple[int, int]]) -> list[int]:
    """Return a row for each layer: the one after the last that it reads, or right before its first reader.

    edges lead from lower to higher numbers.
    """
    rows, first, fed = [0] * count, [count] * count, [False] * count
    for source, target in sorted(edges, key=lambda edge: edge[1]):
        rows[target] = max(rows[target], rows[source] + 1)
        fed[target] = True
    for source, target in edges:
        first[source] = min(first[source], rows[target])
    return [rows[i] if fed[i] or first[i] == count else first[i] - 1 for i in range(count)]


def chains(count: int, edges: list[tuple[int, int]]) -> list[list[int]]:
    """Return the layers as chains: neighbours of which one has no other reader, and the other reads nothing else."""
    readers, read = [0] * count, [0] * count
    for source, target in edges:
        readers[source] += 1
        read[target] += 1
    found: dict[int, list[int]] = {}
    for source, target in sorted(edges, key=lambda edge: edge[1]):
        if readers[source] == read[target] == 1:
            chain = found.setdefault(source, [source])
            chain.append(target)
            found[target] = chain
    made = {id(chain): chain for chain in found.values()}
    return [*made.values(), *([i] for i in range(count) if i not in found)]


def arrange(count: int, edges: list[tuple[int, int]]) -> Grid:
    """Layers and bends in rows, with few crossings. The same graph always gives the same rows."""
    edges = sorted(set(edges))
    grid = _with_bends(longest_paths(count, edges), edges)
    _first_order(grid, count)
    best, fewest = [list(row) for row in grid.rows], _crossings(grid)
    for sweep in range(SWEEPS):
        if not fewest:
            break
        _sweep(grid, downwards=sweep % 2 == 0)
        crossings = _crossings(grid)
        if crossings < fewest:
            best, fewest = [list(row) for row in grid.rows], crossings
    grid.rows = best
    return grid


def _with_bends(row_of: list[int], edges: list[tuple[int, int]]) -> Grid:
    up: list[list[int]] = [[] for _ in row_of]
    down: list[list[int]] = [[] for _ in row_of]
    grid = Grid([], list(row_of), up, down)
    last: dict[int, list[int]] = {}  # layer → its bends so far, one a row
    for source, target in sorted(edges, key=lambda e: (row_of[e[1]] - row_of[e[0]], e)):
        passed = row_of[target] - row_of[source] - 1
        chain = last.setdefault(source, [])
        if passed > 0 and len(grid.bends) + passed - len(chain) > MOST_BENDS:
            grid.routes[source, target] = []
            continue
        while len(chain) < passed:
            bend = len(grid.row_of)
            grid.row_of.append(row_of[source] + len(chain) + 1)
            grid.up.append([])
            grid.down.append([])
            grid.bends[bend] = source
            _link(grid, chain[-1] if chain else source, bend)
            chain.append(bend)
        grid.routes[source, target] = chain[: max(passed, 0)]
        _link(grid, chain[passed - 1] if passed > 0 else source, target)
    return grid


def _link(grid: Grid, above: int, below: int) -> None:
    grid.down[above].append(below)
    grid.up[below].append(above)


def _first_order(grid: Grid, count: int) -> None:
    """Depth first from each layer that reads nothing, readers in the order of the file: branches stay together."""
    grid.rows = [[] for _ in range(max(grid.row_of, default=-1) + 1)]
    seen = [False] * len(grid.row_of)
    stack = [i for i in reversed(range(count)) if not grid.up[i]]
    stack = [i for i in reversed(range(count)) if grid.up[i]] + stack  # the rest, should an edge not have been linked
    while stack:
        item = stack.pop()
        if seen[item]:
            continue
        seen[item] = True
        grid.rows[grid.row_of[item]].append(item)
        stack.extend(sorted(grid.down[item], key=lambda i: grid.bends.get(i, i), reverse=True))


def _sweep(grid: Grid, downwards: bool) -> None:
    """Each row in the order of the means of its neighbours' places in the row before."""
    rows = grid.rows if downwards else grid.rows[::-1]
    near = grid.up if downwards else grid.down
    for before, row in zip(rows, rows[1:], strict=False):
        place = {item: index for index, item in enumerate(before)}
        own = {item: index for index, item in enumerate(row)}

        def mean(item: int, place=place, own=own) -> float:
            found = [place[i] for i in near[item] if i in place]
            return sum(found) / len(found) if found else own[item]

        row.sort(key=mean)


def _crossings(grid: Grid) -> int:
    total = 0
    for above, below in zip(grid.rows, grid.rows[1:], strict=False):
        place = {item: index for index, item in enumerate(below)}
        ends: list[int] = []
        for item in above:
            targets = sorted(place[i] for i in grid.down[item] if i in place)
            total += sum(len(ends) - bisect_right(ends, target) for target in targets)
            for target in targets:
                insort(ends, target)
    return total
