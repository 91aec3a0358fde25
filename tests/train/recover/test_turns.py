"""The order in which stages run, and what they solve."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from deepmerge.train.recover.segments import Segment
from deepmerge.train.recover.turns import turns_of
from tests.helpers import conv, inputs, layer, network

CHAIN = (
    inputs((1, 3, 8, 8)) + conv("a", "data", 4) + conv("b", "a", 4) + layer("fc", "InnerProduct", "b", "num_output: 4")
)


@pytest.mark.parametrize(
    ("stages", "cut", "solved", "turns"),
    [
        ("lsq front tail", "a", "a b", "lsq:a front lsq:b tail"),
        ("lsq refit front tail distill", "a", "a b", "lsq:a front lsq:b refit:fc tail distill"),
        ("lsq tail", "a", "a b", "lsq:ab tail"),
        ("lsq front", "b", "a b", "lsq:ab front"),
        ("lsq front tail", "a", "b", "lsq:b front tail"),
        ("front tail", "a", "a b", "front tail"),
        ("lsq front tail distill", None, "a b", "lsq:ab distill"),
    ],
)
def test_segments_after_the_cut_are_solved_after_front(tmp_path, stages, cut, solved, turns):
    segments = [Segment(name, (name,), (), name, (name,), (name,)) for name in solved.split()]
    context = SimpleNamespace(
        job=SimpleNamespace(stages=tuple(stages.split())),
        cut=cut,
        merged=network(tmp_path, CHAIN),
        segments=segments,
        later=[Segment("fc", (), ("b",), "fc", ("fc",), ("fc",))],
    )
    made = [(turn.stage, "".join(segment.name for segment in turn.segments)) for turn in turns_of(context)]
    assert " ".join(f"{stage}:{names}" if names else stage for stage, names in made) == turns
