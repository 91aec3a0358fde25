"""deepmerge plan."""

from __future__ import annotations

from pathlib import Path

import click

from deepmerge.cli.following import after_plan
from deepmerge.cli.options import FILE, Planning, command, common, inputs, option, planning, target
from deepmerge.cli.output import Console
from deepmerge.cli.tables import cleanup_line, cost_table, costly_table, refusal_table, step_table, target_line
from deepmerge.names import for_terminal
from deepmerge.text import count


@command(short_help="show the steps convert would take, and what is left alone and why")
@click.argument("prototxt", type=FILE)
@click.argument("caffemodel", type=FILE, required=False)
@planning
@target
@option("--write", type=FILE, metavar="FILE", help="Write the plan as a recipe (TOML) for `convert --recipe`.")
@option("--force", is_flag=True, help="Let --write replace an existing file.")
@inputs
@common
def plan(
    prototxt: Path,
    caffemodel: Path | None,
    planning: Planning,
    target: str | None,
    write: Path | None,
    force: bool,
    inputs: dict,
    console: Console,
):
    """Show the steps that convert would take, and what is left alone and why. With -v, show all names and reasons.

    Without a caffemodel, the plan uses the structure alone. Ranks for --tucker come from the weights; to see those by
    calibration images, run `convert --dry-run --calibration SPEC`.

    \b
    Examples:
      deepmerge plan net.prototxt
      deepmerge plan net.prototxt net.caffemodel --tucker --write recipe.toml
    """
    from deepmerge import load
    from deepmerge.errors import EmitError

    if write is not None and write.exists() and not force:
        raise EmitError(f"{write}: exists already; give another name, or --force to replace it")
    network = load(prototxt, caffemodel, inputs=inputs)
    made = network.plan(**planning.keywords(target))
    if write is not None:
        made.write(write, force=force)
    result = made.to_dict()
    console.warn(network.warnings)
    console.show(result, lambda: _text(result, write, console.verbose))
    console.next(after_plan(prototxt, caffemodel, write, result))


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
