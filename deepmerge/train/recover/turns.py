"""The order in which the stages run, and which segments each of them solves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from deepmerge.train.recover import CUT
from deepmerge.train.recover.cut import divided_at
from deepmerge.train.recover.segments import Segment
from deepmerge.train.recover.spec import Context


class Turn(NamedTuple):
    """A stage's turn. segments: those that it solves, none if it trains."""

    stage: str
    segments: Sequence[Segment] = ()


def turns_of(context: Context) -> list[Turn]:
    """Return the turns of the job's stages; without a cut, front and tail have none.

    If front comes after lsq, lsq has two turns: segments after the cut are solved when front is over, for the values
    that they get then. Solved before it, GoogLeNet's tail starts from a divergence of 0.64; solved after it, from 0.40.
    """
    stages = [stage for stage in context.job.stages if context.cut is not None or stage not in CUT]
    solved = {"lsq": context.segments, "refit": context.later}
    if {"lsq", "front"} <= set(stages):
        before, after = divided_at(context.cut, context.merged, context.segments)
        if before and after:
            rest = [Turn(stage, solved.get(stage, ())) for stage in stages if stage not in ("lsq", "front")]
            return [Turn("lsq", before), Turn("front"), Turn("lsq", after), *rest]
    return [Turn(stage, solved.get(stage, ())) for stage in stages]
