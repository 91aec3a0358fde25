"""A frontier's goals; what it measures is tested by the commands (cli/test_choosing.py)."""

from __future__ import annotations

import pytest

import deepmerge
from deepmerge.errors import PlanError


@pytest.mark.parametrize(
    "goals, says",
    [
        ({"speedup": 0}, "speedup is 0; give a number above 1"),
        ({"max_loss": -1}, "max_loss is -1; give a number from 0 to 100"),
        ({}, "give one of speedup, budget_ms and max_loss"),
    ],
)
def test_a_wrong_goal_is_told_before_anything_is_measured(network, goals, says):
    with pytest.raises(PlanError, match=says):
        deepmerge.Frontier(network, study=None).plan(**goals)
