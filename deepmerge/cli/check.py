"""deepmerge check."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from deepmerge.cli.options import FILE, command, common, inputs, option
from deepmerge.cli.output import Console, shortened, table
from deepmerge.names import for_terminal
from deepmerge.targets.names import TARGETS

_HEAD = ("layer", "type", "rule", "not taken, because")


@command(short_help="show the layers that a device's compiler will not take, and why")
@click.argument("prototxt", type=FILE)
@click.argument("caffemodel", type=FILE, required=False)
@option(
    "--target",
    "targets",
    type=click.Choice(TARGETS),
    multiple=True,
    required=True,
    help=f"Compiler: {', '.join(TARGETS)}. May be repeated.",
)
@inputs
@common
def check(prototxt: Path, caffemodel: Path | None, targets: tuple[str, ...], inputs: dict, console: Console):
    """Show the layers that a device's compiler will not take, and why. Exit code 1 if there are any.

    The rules are those of the compilers' documentation. Layers that fail for the same reason share a row; with -v, all
    names are shown. `convert --target` writes a network as the target wants it.

    \b
    Examples:
      deepmerge check net.prototxt --target ascend
      deepmerge check net.prototxt net.caffemodel --target sophon --target rknn2
    """
    from deepmerge import load

    with console.progress():
        network = load(prototxt, caffemodel, inputs=inputs)
        result = network.check(*dict.fromkeys(targets))
    console.warn(network.warnings)
    console.show(result, lambda: "\n\n".join(_text(one, console.verbose) for one in result["targets"]))
    console.complain([line for one in result["targets"] for line in _lines(one, console.verbose)])
    if not all(one["taken"] for one in result["targets"]):
        raise SystemExit(1)


def _lines(target: dict[str, Any], verbose: bool) -> list[str]:
    """Return why the target does not take the network."""
    rows = _rows(_wrong(target), verbose)
    return [f"{target['name']}: {names} ({kind}): {reason}" for names, kind, _, reason in rows]


def _wrong(target: dict[str, Any]) -> list[dict[str, str]]:
    return [one for one in target["problems"] if "only_for" not in one]


def _text(target: dict[str, Any], verbose: bool) -> str:
    wrong = _wrong(target)
    notes = [one for one in target["problems"] if "only_for" in one]
    answer = "does not take this network" if wrong else "takes this network"
    parts = [for_terminal(f"{target['name']}, {target['title']}, {answer} ({target['note']})")]
    parts += [table(_rows(wrong, verbose), _HEAD)] if wrong else []
    for purpose in dict.fromkeys(one["only_for"] for one in notes):
        rows = _rows([one for one in notes if one["only_for"] == purpose], verbose)
        parts.append(table(rows, (*_HEAD[:3], f"not fit for {purpose}, because")))
    return "\n\n".join(parts)


def _rows(problems: list[dict[str, str]], verbose: bool) -> list[tuple[str, ...]]:
    """Return a row for each type, rule and reason."""
    alike: dict[tuple[str, str, str], list[str]] = {}
    for one in problems:
        alike.setdefault((one["type"], one["rule"], one["reason"]), []).append(one["layer"])
    return [(", ".join(names) if verbose else shortened(names, 40), *key) for key, names in alike.items()]
