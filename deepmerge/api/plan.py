"""What a conversion would do, and what it would leave alone and why."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from deepmerge.api.support import PathLike, Report, as_html
from deepmerge.errors import EmitError
from deepmerge.graph.costs import KeptCosts
from deepmerge.names import for_terminal
from deepmerge.out.staging import write_whole
from deepmerge.passes.support.base import Change, Refusal
from deepmerge.plan import Plan as FoundPlan
from deepmerge.plan import Recipe, Step, run_recipe
from deepmerge.plan.sketch import shapes_say_weights, without_weights
from deepmerge.text import plain_table

if TYPE_CHECKING:
    from deepmerge.api.network import Network
    from deepmerge.convert.calibrate import CalibrationImages


class Plan:
    """The steps that a conversion would take, and what it would leave alone and why.

    Attributes
    ----------
    network : Network
        The network that it is for.
    """

    def __init__(
        self,
        network: Network,
        found: FoundPlan,
        images: CalibrationImages | None = None,
        choice_notes: Sequence[str] = (),
        choice_data: str | None = None,
    ):
        self.network, self.found, self.images, self.choice_notes = network, found, images, list(choice_notes)
        self.choice_data = choice_data

    @property
    def recipe(self) -> Recipe:
        """The steps as a recipe. Its `to_toml()` is what `--recipe` reads."""
        return self.found.recipe

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps in order, with `name`, `passes`, `layers` and `exact`."""
        return self.found.recipe.steps

    @property
    def notes(self) -> list[str]:
        """What is said about a choice by measurement and about the calibration images, one line each."""
        return [*self.choice_notes, *self.image_notes, *self.unused_notes]

    @property
    def image_notes(self) -> list[str]:
        """What reading the calibration images brought up."""
        return [] if self.images is None else list(self.images.notes)

    @property
    def unused_notes(self) -> list[str]:
        """A note if no step of a recipe uses the calibration images; to int8 it does not apply."""
        if self.images is None or not self.recipe.file or any(s.options.get("calibration") for s in self.steps):
            return []
        return [f"{self.recipe.file}: none of its steps uses calibration images, so they are ignored"]

    @property
    def specs(self) -> list[str]:
        """The images that it was made with: those that it was chosen by, and those to calibrate on."""
        calibration = None if self.images is None else self.images.spec
        return [spec for spec in (self.choice_data, calibration) if spec]

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        """What is left alone, with `pass_name`, `layer` and `reason`."""
        return tuple(dict.fromkeys(self.found.refusals))

    def to_dict(self) -> Report:
        """Return the steps, costs and refusals as `deepmerge plan --json` prints them. The steps run on a copy."""
        from deepmerge.convert.report import refusal_entry, step_entry, target_entry
        from deepmerge.out.write import Settings

        graph = self.network.graph.copy()
        costs = KeptCosts(graph)
        before, steps = costs.summary(), []
        cleanup: list[Change] = []
        lean = bool(self.found.choice) and shapes_say_weights(graph)  # it names all ranks: nothing looks at weights

        def begin(step: Step) -> None:
            if lean and not step.exact:
                without_weights(graph)

        for index, result in run_recipe(graph, self.recipe, cleanup, begin):
            entry = step_entry(index, result, {}, costs.summary())
            steps.append({key: value for key, value in entry.items() if key != "before"})
        taken = {layer for step in self.steps for layer in step.layers}
        costly = [c for c in self.found.candidates if c.costly and not taken & set(c.step.layers)]
        aim = (
            {"target": target_entry(graph, Settings().for_target(self.recipe.target), self.recipe.target)[0]}
            if self.recipe.target
            else {}
        )
        return {
            "network": graph.name,
            **aim,
            "before": before,
            "after": costs.summary(),
            "steps": steps,
            "cleanup": [{"pass": change.pass_name, "layers": list(change.merged)} for change in cleanup],
            "refusals": [refusal_entry(refusal) for refusal in self.refusals if not refusal.costly],
            "costly": [{"name": c.step.name, "layers": list(c.step.layers), "reason": c.costly} for c in costly],
            **({"choice": dict(self.found.choice)} if self.found.choice else {}),
        }

    def write(self, file: PathLike, *, force: bool = False) -> None:
        """Write the plan as a recipe, a TOML file to edit; `force` replaces an existing one."""
        if Path(file).exists() and not force:
            remedy = "give another name, or force=True to replace it"
            raise EmitError(f"{file}: exists already", file=file, remedy=remedy)
        write_whole(Path(file), self.recipe.to_toml())

    def __repr__(self) -> str:
        return f"<Plan for {for_terminal(self.network.name)!r}: {len(self.steps)} steps>"

    def __str__(self) -> str:
        return f"{len(self.steps)} steps\n\n{plain_table(self._rows(), _STEP_HEAD)}"

    def _repr_html_(self) -> str:
        return as_html(repr(self), _STEP_HEAD, self._rows())

    def _rows(self) -> list[tuple[str, ...]]:
        return [(s.name, "yes" if s.exact else "no", ", ".join(s.passes), ", ".join(s.layers)) for s in self.steps]


_STEP_HEAD = ("step", "exact", "passes", "layers")
