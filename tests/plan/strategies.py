"""Any recipe, for hypothesis."""

from __future__ import annotations

from hypothesis import strategies as st

from deepmerge.passes.registry import CLEANUP, PASSES
from deepmerge.plan.groups import RESERVED
from deepmerge.plan.recipe import Recipe, Step

TEXT = st.text(st.characters(codec="utf-8"), max_size=30)
NAME = st.text(st.characters(codec="utf-8"), min_size=1, max_size=30)
NAMES = st.lists(NAME, min_size=1, max_size=40).map(tuple)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "width": st.just("full") | st.floats(0, 1, exclude_min=True),
        "kernel": st.sampled_from(["keep", "cover"]),
        "init": st.sampled_from(["trained", "xavier"]),
        "rank": st.just("vbmf") | st.floats(1e-9, 1).map(lambda share: f"energy:{share}") | st.just("macs:0.5"),
        "calibration": st.text(st.characters(codec="utf-8"), min_size=1, max_size=30),
        "ranks": st.dictionaries(NAME, st.lists(st.integers(1, 4096), min_size=1, max_size=2).map(tuple), max_size=5),
        "absorb": st.lists(st.sampled_from(["lrn", "pooling", "branches"]), unique=True).map(tuple),
    },
)
PASS_NAMES = st.lists(st.sampled_from(sorted(PASSES)), min_size=1, unique=True).map(tuple)
ANY_STEP = st.builds(Step, NAME, PASS_NAMES, NAMES, st.booleans(), OPTIONS)
STEP = ANY_STEP.filter(lambda step: step.exact or step.name not in RESERVED)
# Exact steps may share their names, approximate ones may not
STEPS = st.lists(STEP, max_size=4, unique_by=lambda step: id(step) if step.exact else step.name).map(tuple)
RECIPES = st.builds(Recipe, TEXT, st.just(CLEANUP), NAMES | st.just(()), STEPS)
