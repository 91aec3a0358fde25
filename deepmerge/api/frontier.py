"""What a network's merges save and cost, to choose a plan by."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from deepmerge.api.plan import Plan
from deepmerge.api.support import PathLike, Report
from deepmerge.data import source_path
from deepmerge.errors import PlanError
from deepmerge.out.staging import check_free, staged
from deepmerge.plan import Plan as FoundPlan
from deepmerge.text import unused

if TYPE_CHECKING:
    from deepmerge.api.network import Network
    from deepmerge.choose.plans import Plans
    from deepmerge.choose.study import Study


class Frontier:
    """What a network's merges save and cost, as measured: the plans with the least loss for each time.

    `Network.frontier` makes it. It measures what is not yet in its file when it is first asked.

    Attributes
    ----------
    network : Network
        The network that it is for.
    """

    def __init__(self, network: Network, study: Study):
        self.network, self.study = network, study

    @cached_property
    def _plans(self) -> Plans:
        """The plans and what they cost. Now all is measured that is not yet in the file."""
        from deepmerge.choose.plans import Plans

        return Plans(self.study)

    def plan(
        self,
        *,
        speedup: float | None = None,
        budget_ms: float | None = None,
        max_loss: float | None = None,
        calibration: str | None = None,
        calibration_images: int = 500,
    ) -> Plan:
        """Return the plan with the least loss that keeps one goal.

        Its `found.choice` says whether the goal was kept; if not, the plan is the nearest one.

        Parameters
        ----------
        speedup
            How many times as fast as the original the network is to be.
        budget_ms
            How many milliseconds it may take.
        max_loss
            How many points of agreement with the original it may lose, fitted, on images that took no part in choosing.
        calibration, calibration_images
            Images for `convert(emit=["onnx-int8"])`, and how many of them.
        """
        from deepmerge.choose.goal import Goal, choose
        from deepmerge.choose.report import chosen_entry

        goals = {"speedup": speedup, "budget_ms": budget_ms, "max_loss": max_loss}
        if sum(value is not None for value in goals.values()) != 1:
            raise PlanError("give one of speedup, budget_ms and max_loss")
        goal = Goal(**goals)
        how = self.study.job.wishes, self.study.job.strict, self.study.progress
        images = self.network._calibration(calibration, calibration_images, *how)
        chosen = choose(self._plans, goal)
        self.study.close()
        taken = {layer for step in chosen.recipe.steps for layer in step.layers}
        refusals = tuple(one for one in self.study.refusals if not (one.costly and one.layer in taken))
        found = FoundPlan(chosen.recipe, refusals, choice=chosen_entry(self._plans, chosen))
        return Plan(self.network, found, images, self.study.notes, self.study.job.data)

    def to_dict(self) -> Report:
        """Return the frontier as `deepmerge plan --json` prints it."""
        from deepmerge.choose.report import study_entry

        found = study_entry(self._plans)
        self.study.close()
        return found

    def draw(self, file: PathLike, plan: Plan | None = None) -> None:
        """Draw it (PNG, SVG or PDF), with the point of a plan if one is given. Needs matplotlib."""
        from deepmerge.choose.chart import draw

        draw(self.network.name, self.to_dict(), Path(file), plan and dict(plan.found.choice or {}))

    def write(self, folder: PathLike, *, force: bool = False) -> list[Path]:
        """Write a recipe for each plan on the frontier into a new folder, named by its speed-up; return the files."""
        pair = filter(None, (self.network.prototxt, self.network.caffemodel))
        check_free(Path(folder), force, [*pair, source_path(self.study.job.data)])
        with staged(Path(folder), force) as stage:
            names = []
            for point, entry in zip(self._plans.points, self.to_dict()["points"], strict=True):
                names.append(unused(f"{entry['expected']['speedup']:.2f}", names))
                text = self._plans.recipe_of(point).to_toml()
                (stage / f"{names[-1]}.toml").write_text(text, "utf-8", "surrogateescape")
        return [Path(folder) / f"{name}.toml" for name in names]
