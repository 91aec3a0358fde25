from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from deepmerge.page import ordering
from deepmerge.page.ordering import arrange, chains, longest_paths


@st.composite
def dags(draw, most: int = 14):
    """(count, edges): edges lead from lower numbers to higher ones."""
    count = draw(st.integers(1, most))
    pairs = [(a, b) for b in range(count) for a in range(b)]
    return count, draw(st.lists(st.sampled_from(pairs), unique=True, max_size=30)) if pairs else []


def test_rows_are_longest_paths_and_late_inputs_stand_by_their_readers():
    #  0 → 1 → 2 → 3, 0 → 3, and 4, an input that only 5 reads
    assert longest_paths(6, [(0, 1), (1, 2), (2, 3), (0, 3), (3, 5), (4, 5)]) == [0, 1, 2, 3, 3, 4]
    assert longest_paths(2, []) == [0, 0]


@given(dags())
@settings(max_examples=60, deadline=None)
def test_every_edge_leads_down_by_one_row_at_a_time(dag):
    count, edges = dag
    grid = arrange(count, edges)
    assert sorted(item for row in grid.rows for item in row) == list(range(len(grid.row_of)))
    assert all(grid.row_of[item] == index for index, row in enumerate(grid.rows) for item in row)
    for (source, target), passed in grid.routes.items():
        path = [grid.row_of[item] for item in (source, *passed, target)]
        assert path == list(range(path[0], path[0] + len(path)))
        assert all(grid.bends[item] == source for item in passed)
    assert set(grid.routes) == set(edges)
    assert all(row and min(row) < count for row in grid.rows), "a row without a layer"


@given(dags())
@settings(max_examples=30, deadline=None)
def test_the_same_graph_gives_the_same_rows(dag):
    count, edges = dag
    assert arrange(count, edges).rows == arrange(count, edges[::-1]).rows


def test_crossings_that_can_be_undone_are():
    """Two inputs whose readers stand the other way round."""
    grid = arrange(4, [(0, 3), (1, 2)])
    assert ordering._crossings(grid) == 0


def test_an_inception_module_has_no_crossing():
    edges = [(0, 1), (0, 2), (0, 4), (0, 6), (2, 3), (4, 5), (6, 7), (1, 8), (3, 8), (5, 8), (7, 8)]
    grid = arrange(9, edges)
    assert ordering._crossings(grid) == 0 and grid.rows[1] == [1, 2, 4, 6]


def test_edges_too_long_for_bends_are_drawn_straight(monkeypatch):
    monkeypatch.setattr(ordering, "MOST_BENDS", 3)
    edges = [(i, i + 1) for i in range(9)] + [(0, 3), (0, 9)]
    grid = arrange(10, edges)
    assert len(grid.routes[0, 3]) == 2 and grid.routes[0, 9] == [] and sum(map(len, grid.rows)) == 12


def test_chains():
    edges = [(0, 1), (1, 2), (2, 3), (2, 4), (3, 5), (4, 5)]
    assert sorted(chains(6, edges)) == [[0, 1, 2], [3], [4], [5]]
