from __future__ import annotations

import time

from hypothesis import given, settings

from deepmerge.formats.read import read_network
from deepmerge.page.layers import facts, reads
from deepmerge.page.layout import lay_out
from deepmerge.page.script_data import edges
from tests.page.conftest import boxes

from .test_ordering import dags


def overlaps(a, b) -> bool:
    (ax, ay, aw, ah), (bx, by, bw, bh) = a, b
    return ax < bx + bw and bx < ax + aw and ay < by + bh and by < ay + ah


@given(dags())
@settings(max_examples=50, deadline=None)
def test_boxes_lie_inside_and_apart_and_readers_below(dag):
    count, joined = dag
    sizes = [(40 + 13 * i % 90, 19 if i % 2 else 34) for i in range(count)]
    made = boxes(sizes, joined)
    frames = [(*box, *size) for box, size in zip(made.boxes, sizes, strict=True)]
    for number, (x, y, w, h) in enumerate(frames):
        assert 0 <= x and x + w <= made.width + 1 and 0 <= y and y + h <= made.height
        assert not any(overlaps(frames[number], other) for other in frames[:number])
    for source, target in joined:
        assert frames[source][1] + frames[source][3] < frames[target][1]
        points = [frames[source][1], *(y for _, y in made.routes[source, target]), frames[target][1]]
        assert points == sorted(points)


def test_a_chain_is_straight():
    made = boxes([(40, 34), (120, 19), (60, 34)], [(0, 1), (1, 2)])
    assert len({x + w / 2 for (x, _), (w, _) in zip(made.boxes, made.sizes, strict=True)}) == 1


def test_bands_name_the_parts_from_top_to_bottom():
    made = boxes([(40, 19)] * 4, [(0, 1), (1, 2), (2, 3)], ["a", "a", "b", "a"])
    assert [name for name, _ in made.bands] == ["a", "b", "a"]
    assert [y for _, y in made.bands] == sorted({y for _, y in made.bands}) and made.bands[0][1] == 0


def test_nothing():
    assert lay_out([], [], []).boxes == []


def test_large_networks_are_laid_out_within_a_second(models):
    for name, most in (("googlenet", 600), ("resnet152", 400)):
        graph = read_network(models / name / "deploy.prototxt")
        found = facts(graph)
        joined = [(source, target) for target, sources in enumerate(reads(graph)) for source in sources]
        start = time.process_time()
        made = lay_out([(80, 34 if fact.tensor else 19) for fact in found], joined, [fact.group for fact in found])
        assert time.process_time() - start < 1 and made.width < most


def test_edges_of_a_stage(mini_stages):
    stage = mini_stages[0]
    names = [fact.name for fact in stage.facts]
    assert ("conv1/3x3", "conv1/relu_3x3") in [(names[a], names[b]) for a, b in edges(stage)]
