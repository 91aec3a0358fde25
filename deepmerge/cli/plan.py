"""deepmerge plan."""

from __future__ import annotations

from pathlib import Path

import click

from deepmerge.cli.options import FILE, common, planning, wishes
from deepmerge.cli.output import show, show_json, warn
from deepmerge.cli.tables import cost_table, costly_table, refusal_table, step_table


@click.command(short_help="show the steps that convert would take, and the refusals with their reasons")
@click.argument("prototxt", type=FILE)
@click.argument("caffemodel", type=FILE, required=False)
@planning
@click.option(
    "--write", type=FILE, help="Write the plan as a recipe (TOML), to be edited and given to convert --recipe."
)
@click.option("--force", is_flag=True, help="Let --write replace an existing file.")
@common
def plan(prototxt, caffemodel, write, force, as_json, quiet, verbose, debug, **chosen):
    """Show the steps that convert would take, and what is left alone and why. Without a caffemodel the plan comes from
    the structure alone. With -v nothing is left out of the names and reasons. Tucker's ranks come from the weights here; those
    by calibration images are shown by `convert --dry-run --calibration SPEC`.

    \b
    Examples:
      deepmerge plan net.prototxt
      deepmerge plan net.prototxt net.caffemodel --tucker --write recipe.toml
    """
    wanted = wishes(chosen)
    from deepmerge.formats.read import read_network
    from deepmerge.plan import make_plan

    graph = read_network(prototxt, caffemodel)
    made = make_plan(graph, wanted)
    if write is not None:
        _write(write, made.recipe.to_toml(), force)
    result = _carried_out(graph, made)
    warn(graph.warnings, quiet)
    if as_json:
        show_json(result)
    else:
        show(_told(result, verbose), quiet)


def _carried_out(graph, made) -> dict:
    """What the plan makes of the graph, in the words of report.json. `costly`: steps that only their names bring in."""
    from deepmerge.graph.costs import summary
    from deepmerge.plan import run_recipe

    before, cleanup, steps = summary(graph), [], []
    for index, result in run_recipe(graph, made.recipe, cleanup):
        steps.append(
            {
                "index": index,
                "name": result.step.name,
                "passes": list(dict.fromkeys(change.pass_name for change in result.changes)),
                "exact": result.exact,
                "merged": result.merged,
                "into": result.into,
                "after": summary(graph),
            }
        )
    taken = {layer for step in made.recipe.steps for layer in step.layers}
    costly = [c for c in made.candidates if c.costly and not taken & set(c.step.layers)]
    return {
        "network": graph.name,
        "before": before,
        "after": summary(graph),
        "steps": steps,
        "cleanup": [{"pass": change.pass_name, "layers": list(change.merged)} for change in cleanup],
        "refusals": [
            {"pass": r.pass_name, "layer": r.layer, "reason": r.reason}
            for r in dict.fromkeys(made.refusals)
            if not r.costly
        ],
        "costly": [{"name": c.step.name, "layers": list(c.step.layers), "reason": c.costly} for c in costly],
    }


def _told(result: dict, verbose: bool) -> str:
    steps = result["steps"]
    parts = [
        step_table(steps, result["before"], verbose)
        if steps
        else "no step: there is nothing to merge in this network, or it was left out"
    ]
    parts.append(cost_table(result["before"], result["after"]))
    if result["costly"]:
        parts.append(costly_table(result["costly"]))
    if result["refusals"]:
        parts.append(refusal_table(result["refusals"], verbose))
    return "\n\n".join(parts)


def _write(path: Path, text: str, force: bool) -> None:
    from deepmerge.errors import EmitError
    from deepmerge.out.staging import write_whole

    if path.exists() and not force:
        raise EmitError(f"{path}: exists already; give another name, or --force to replace it")
    write_whole(path, text)
