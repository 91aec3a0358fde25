"""deepmerge plan."""

from __future__ import annotations

from pathlib import Path

import click

from deepmerge.cli.options import FILE, PLANNING, common, planning, wishes
from deepmerge.cli.output import cost_table, refusal_table, show, show_json, step_table, warn


@click.command(short_help="show the steps that convert would take, and the refusals with their reasons")
@click.argument("prototxt", type=FILE)
@click.argument("caffemodel", type=FILE, required=False)
@planning
@click.option("--write", type=FILE, help="Write the plan as a recipe (TOML), to be edited and given to convert --recipe.")
@click.option("--force", is_flag=True, help="Let --write replace an existing file.")
@common
def plan(prototxt, caffemodel, write, force, as_json, quiet, verbose, debug, **chosen):
    """Show the steps that convert would take, and what is left alone and why. Without a caffemodel the plan comes from
    the structure alone.

    \b
    Examples:
      deepmerge plan net.prototxt
      deepmerge plan net.prototxt net.caffemodel --tucker --write recipe.toml
    """
    from deepmerge.graph.costs import summary
    from deepmerge.plan import make_plan, run_cleanup, run_step
    from deepmerge.read import read_network

    graph = read_network(prototxt, caffemodel)
    made = make_plan(graph, wishes(**{k: chosen[k] for k in PLANNING}))
    before = summary(graph)
    run_cleanup(graph, made.recipe)
    steps = []
    for index, step in enumerate(made.recipe.steps, 1):
        result = run_step(graph, step, made.recipe.keep)
        steps.append({"index": index, "name": step.name, "passes": list(step.passes), "exact": result.exact,
                      "merged": result.merged, "into": result.into, "after": summary(graph)})  # fmt: skip
    run_cleanup(graph, made.recipe)
    refusals = [{"pass": r.pass_name, "layer": r.layer, "reason": r.reason} for r in dict.fromkeys(made.refusals)]
    if write is not None:
        _write(write, made.recipe.to_toml(), force)
    warn(graph.warnings, quiet)
    if as_json:
        cleanup = [{"pass": c.pass_name, "layers": list(c.merged)} for c in made.cleanup]
        costly = [c.step.name for c in made.candidates if c.costly]
        show_json({"network": graph.name, "before": before, "after": summary(graph), "steps": steps, "cleanup": cleanup,
                   "refusals": refusals, "costly": costly})  # fmt: skip
        return
    parts = [step_table(steps, before) if steps else "no step: the network has nothing that merges"]
    parts += [cost_table(before, summary(graph))]
    parts += [refusal_table(refusals)] if refusals else []
    show("\n\n".join(parts), quiet)


def _write(path: Path, text: str, force: bool) -> None:
    from deepmerge.errors import EmitError

    if path.exists() and not force:
        raise EmitError(f"{path}: exists already; give another name, or --force to replace it")
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise EmitError(f"{path}: cannot be written: {error.strerror}") from None
