"""Plans: which passes run on which layers, in named steps."""

from deepmerge.plan.calibration import Calibration
from deepmerge.plan.execute import StepResult, run_cleanup, run_recipe, run_step
from deepmerge.plan.plan import Plan, Wishes, make_plan
from deepmerge.plan.recipe import Recipe, Step
from deepmerge.plan.recipe_reader import read_recipe

__all__ = [
    "Calibration",
    "Plan",
    "Recipe",
    "Step",
    "StepResult",
    "Wishes",
    "make_plan",
    "read_recipe",
    "run_cleanup",
    "run_recipe",
    "run_step",
]
