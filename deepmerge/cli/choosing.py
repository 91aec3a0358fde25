"""Options of convert and plan that choose the merges by measurement, and what is printed about the choice."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from deepmerge.cli.options import FILE, SPEC, Amount, bundle, given, option, options, refuse
from deepmerge.cli.output import table
from deepmerge.engines import ENGINES
from deepmerge.names import for_terminal

HEADING = "Choosing by measurement"
_GOALS = ("speedup", "budget_ms", "max_loss")
_DECIDED = ("exact", "width", "kernel", "init", "tucker", "rank", "recipe")  # what the measurements decide


@dataclass(frozen=True)
class Choosing:
    """What to choose by: images, a goal, and what times are measured on."""

    data: str | None
    speedup: float | None
    budget_ms: float | None
    max_loss: float | None
    engine: str
    threads: int
    measurements: Path | None
    choosing_images: int

    def __post_init__(self):
        goals = given(*_GOALS)
        if len(goals) > 1:
            refuse(goals[1:], f"and --{goals[0].replace('_', '-')} exclude each other")
        if self.data is None:
            refuse([*goals, *given("measurements", "choosing_images", "engine", "threads")], "needs --data SPEC")
        else:
            refuse(given(*_DECIDED), "has no effect with --data: the measurements decide")

    @property
    def goal(self) -> dict[str, float]:
        """The goal as `deepmerge.Frontier.plan` takes it; {} without one."""
        return {key: getattr(self, key) for key in _GOALS if getattr(self, key) is not None}

    def keywords(self, planning: Any, target: str | None) -> dict[str, Any]:
        """Return the options as `deepmerge.Network.frontier` takes them."""
        what = {"steps": ",".join(planning.steps), "absorb": planning.absorb, "keep": planning.keep}
        on = {"engine": self.engine, "threads": self.threads, "measurements": self.measurements}
        return {"data": self.data, "images": self.choosing_images, "target": target or "", **what, **on}


choosing = bundle(
    "choosing",
    Choosing,
    option("--data", metavar="SPEC", help=f"Images to choose by (no labels needed): {SPEC}."),
    option(
        "--speedup",
        type=Amount(1, min_open=True),
        metavar="X",
        help="Goal of --data: X times the original's speed.",
    ),
    options(
        option(
            "--max-loss",
            type=Amount(0, 100),
            metavar="X",
            help="Goal of --data: the best class changes for at most X % of images.",
        ),
        option(
            "--budget-ms",
            type=Amount(0, min_open=True),
            metavar="X",
            help="Goal of --data: at most X milliseconds for one forward.",
        ),
        option(
            "--engine",
            type=click.Choice(tuple(ENGINES)),
            default="ort",
            help="What the times are measured on; ort-int8 is ort in int8.",
        ),
        option("--threads", type=click.IntRange(1), default=1, metavar="N", help="CPU threads of each timed run."),
        option(
            "--measurements",
            type=FILE,
            metavar="FILE",
            help="CSV file of measurements to use, and to add new ones to. Default: one in the user's cache.",
        ),
        option(
            "--choosing-images",
            type=click.IntRange(30),
            default=800,
            metavar="N",
            help="Use at most N images, sampled evenly.",
        ),
        heading=HEADING,
    ),
)


def choice_text(entry: dict[str, Any]) -> str:
    """Return what a choice is, region by region, and what it gives."""
    frontier = entry["frontier"]
    rows = [
        (row["region"], row["choice"], f"{row['ms']:.2f}", f"{row['left_ms']:.2f}", f"{row['loss']:.4f}")
        + (f"{row['next_best']}: {row['why']}" if row["next_best"] else "",)
        for row in entry["regions"]
    ]
    parts = [table(rows, ("region", "choice", "ms", "ms if left", "loss", "next best, and why not"), "llrrrl")]
    speed = f"{entry['ms']:.2f} ms, {entry['speedup']:.2f} times as fast as the original"
    base = f"{frontier['original_ms']:.2f} ms; {for_terminal(frontier['timed_on'])}"
    how = "measured" if entry["measured"] else "expected"
    sums = entry["predicted"]
    parts.append(
        f"{speed} ({base}); the sum over the regions is {sums['ms']:.2f} ms\n"
        f"{how} after a quick fit: agreement (images with the original's best class) {_agreement(entry)}, loss "
        f"{_loss(entry)}; the sum over the regions is {sums['loss']:.4f}"
    )
    if "checked_agreement" in entry:
        agree = f"{100 * entry['checked_agreement']:.1f} % have the original's best class"
        parts.append(f"of {entry['checked_images']} images that took no part in choosing, {agree}")
    return "\n\n".join(parts)


def frontier_text(entry: dict[str, Any]) -> str:
    """Return the frontier as a table, and the plans that were measured whole as another."""
    rows = [_figures(point["expected"]) for point in entry["points"]]
    whole = [
        (*_figures(one), f"{one['predicted']['ms']:.2f}", f"{one['predicted']['loss']:.4f}")
        for one in entry["whole_plans"]
    ]
    head = ("times as fast", "ms", "agreement", "loss")
    title = f"{for_terminal(entry['timed_on'])}; the original takes {entry['original_ms']:.2f} ms"
    return "\n\n".join(
        (
            f"the least loss for each time ({title}), as expected after a quick fit",
            table(rows, head, "rrrr"),
            "plans measured whole",
            table(whole, (*head, "predicted ms", "predicted loss"), "rrrrrr"),
        )
    )


def missed(entry: dict[str, Any]) -> str:
    """Return the line that says by how much a choice misses its goal."""
    key, wanted = next(iter(entry["goal"].items()))
    if key == "max_loss":
        loss = 100 * (1 - entry.get("checked_agreement", entry["agreement"]))
        speed = f"{entry['speedup']:.2f} times the original's speed"
        found = f"with the nearest plan, at {speed}, {loss:.2f} % of the images get another best class"
    else:
        found = f"the fastest plan takes {entry['ms']:.2f} ms, {entry['speedup']:.2f} times as fast as the original"
    return f"--{key.replace('_', '-')} {wanted:g} cannot be reached: {found}"


def _figures(one: dict[str, Any]) -> tuple[str, str, str, str]:
    return f"{one['speedup']:.2f}", f"{one['ms']:.2f}", _agreement(one), _loss(one)


def _agreement(one: dict[str, Any]) -> str:
    return "unknown" if one["agreement"] is None else f"{100 * one['agreement']:.1f} %"


def _loss(one: dict[str, Any]) -> str:
    return "unknown (NaN or inf in its outputs)" if one["loss"] is None else f"{one['loss']:.4f}"
