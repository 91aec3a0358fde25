"""deepmerge plan."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deepmerge.chart import check_chart
from deepmerge.cli.choosing import HEADING, Choosing, choice_text, choosing, frontier_text, missed
from deepmerge.cli.image_options import PREPROCESSING, Preprocessing, preprocessing
from deepmerge.cli.next_command import after_plan
from deepmerge.cli.options import (
    FILE,
    Planning,
    command,
    common,
    given,
    inputs,
    option,
    options,
    planning,
    refuse,
    target,
)
from deepmerge.cli.output import Console
from deepmerge.cli.step_tables import cleanup_line, cost_table, costly_table, refusal_table, step_table, target_line
from deepmerge.errors import EmitError, PlanError
from deepmerge.names import for_terminal
from deepmerge.text import count

if TYPE_CHECKING:
    from deepmerge import Network


@command(short_help="show the steps convert would take, and what is left alone and why")
@click.argument("prototxt", type=FILE)
@click.argument("caffemodel", type=FILE, required=False)
@planning
@target
@option(
    "--write",
    type=FILE,
    metavar="FILE",
    help="Write the plan as a recipe; with --data and no goal, a folder of them.",
)
@option("--force", is_flag=True, help="Let --write replace a file or folder.")
@inputs
@choosing
@options(
    option(
        "--frontier",
        type=FILE,
        metavar="FILE",
        help="Draw the agreement at each speed (png, svg, pdf).",
    ),
    heading=HEADING,
)
@preprocessing(mirror=None)
@common
def plan(
    prototxt: Path,
    caffemodel: Path | None,
    planning: Planning,
    target: str | None,
    write: Path | None,
    force: bool,
    inputs: dict,
    choosing: Choosing,
    frontier: Path | None,
    images: Preprocessing,
    console: Console,
):
    """Show the steps that convert would take, and what is left alone and why.

    -v shows all names and reasons. Without a caffemodel, the plan uses the structure alone. Ranks for --tucker come
    from the weights; to see the ranks that images give, run `convert --tucker --dry-run --calibration SPEC`.

    With --data, the merges are chosen by measurement. Without a goal such as --speedup, the best plan for each speed is
    shown.

    \b
    Examples:
      deepmerge plan net.prototxt
      deepmerge plan net.prototxt net.caffemodel --tucker --write recipe.toml
      deepmerge plan net.prototxt net.caffemodel --data folder:photos --speedup 3
    """
    from deepmerge import load
    from deepmerge.data import source_path

    if choosing.data is None:
        refuse(given("frontier", *PREPROCESSING), "has no effect without --data SPEC")
    elif caffemodel is None:
        raise click.UsageError("--data needs the network's weights: give the CAFFEMODEL, too")

    check_chart("--frontier", frontier)
    if write is None:
        refuse(given("force"), "has no effect without --write")
    else:
        folder = choosing.data is not None and not choosing.goal
        _check_free(write, force, [prototxt, caffemodel, source_path(choosing.data)] if folder else [])
    with console.progress():
        network = load(prototxt, caffemodel, inputs=inputs)
    if choosing.data is not None:
        asked = {**choosing.keywords(planning, target), "wishes": images.wishes()}
        result = _choose(network, choosing.goal, asked, frontier, write, force, console)
        if "choice" in result:
            console.next(after_plan(prototxt, caffemodel, write, result))
        return
    with console.progress() as progress:
        made = network.plan(**planning.keywords(target), progress=progress)
        result = made.to_dict()
    if write is not None:
        made.write(write, force=force)
    console.warn(network.warnings)
    console.show(result, lambda: _text(result, write, console.verbose))
    console.next(after_plan(prototxt, caffemodel, write, result))


def _check_free(write: Path, force: bool, inputs: list[Path]) -> None:
    """Raise EmitError for what --write cannot write. inputs: what is read for a folder of recipes; [] for a file."""
    from deepmerge.out.staging import check_free

    if write.exists() and not force:
        remedy = "give another name, or --force to replace it"
        raise EmitError(f"{write}: exists already", file=write, remedy=remedy)
    if inputs:
        check_free(write, force, inputs)
    elif not write.parent.is_dir():  # as writing would fail, after all the work
        remedy = "make its folder first; nothing was written"
        raise EmitError(f"{write}: cannot be written: {os.strerror(errno.ENOENT)}", file=write, remedy=remedy)


def _choose(
    network: Network,
    goal: dict[str, float],
    asked: dict[str, Any],
    picture: Path | None,
    write: Path | None,
    force: bool,
    console: Console,
) -> dict[str, Any]:
    """Measure, show the plan for a goal, or the frontier without one, and return what was shown."""
    with console.progress() as progress:
        found = network.frontier(**asked, progress=progress)
        plan = found.plan(**goal) if goal else None
        result = plan.to_dict() if plan else {"network": network.name, "frontier": found.to_dict()}
    written: list[Path] = []
    if write is not None and plan is not None:
        plan.write(write, force=force)
    elif write is not None:
        written = found.write(write, force=force)
    console.warn([*network.warnings, *found.study.notes])
    console.show(result, lambda: _choice_text(result, write, len(written)))
    if picture is not None:
        found.draw(picture, plan)
    if plan is not None and not result["choice"]["kept"]:
        raise PlanError(missed(result["choice"]))
    return result


def _choice_text(result: dict[str, Any], write: Path | None, recipes: int) -> str:
    if "choice" in result:
        parts = [choice_text(result["choice"]), cost_table(result["before"], result["after"])]
    else:
        parts = [frontier_text(result["frontier"])]
    if write is not None:
        what = "a recipe" if not recipes else count(recipes, "recipe")
        parts.append(f"written to {for_terminal(write)}: {what}")
    return "\n\n".join(parts)


def _text(result: dict, written: Path | None, verbose: bool) -> str:
    parts = []
    if result["steps"]:
        parts.append(step_table(result["steps"], result["before"], verbose))
    if result["cleanup"]:
        cleanup = cleanup_line(result["cleanup"], verbose)
        parts.append(cleanup if parts else f"no step, only {cleanup}")
    parts = parts or ["no step: nothing in this network can be merged, or it was left out"]
    parts.append(cost_table(result["before"], result["after"]))
    if result["costly"]:
        parts.append(costly_table(result["costly"]))
    if result["refusals"]:
        parts.append(refusal_table(result["refusals"], verbose))
    if "target" in result:
        parts.append(target_line(result["target"]))
    if written is not None:
        parts.append(f"written to {for_terminal(written)}: a recipe of {count(len(result['steps']), 'step')}")
    return "\n\n".join(parts)
