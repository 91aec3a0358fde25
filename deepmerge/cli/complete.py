"""What shell completion offers for the network on the command line: its steps, or its layers and their types."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path

import click
from click.shell_completion import CompletionItem


def complete_steps(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the steps of the plan for a prototxt, or those that a folder's report.json has."""
    return _items(["all", *_steps(ctx)], incomplete)


def complete_layers(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the types and names of the prototxt's layers."""
    graph = _graph(ctx)
    layers = [] if graph is None else graph.layers
    return _items([*dict.fromkeys(layer.type for layer in layers), *(layer.name for layer in layers)], incomplete)


def _items(words: Sequence[str], incomplete: str) -> list[CompletionItem]:
    """Return the words that may follow the last comma. Those with a comma or a line break cannot be listed."""
    before, comma, _ = incomplete.rpartition(",")
    free = [word for word in words if word not in before.split(",") and word.isprintable() and "," not in word]
    return [CompletionItem(before + comma + w) for w in free if (before + comma + w).startswith(incomplete)]


def _steps(ctx: click.Context) -> list[str]:
    if "prototxt" in ctx.params:
        graph = _graph(ctx)
        if graph is None:
            return []
        from deepmerge.plan import Wishes, make_plan

        return [step.name for step in make_plan(graph, Wishes()).recipe.steps if not step.exact]
    folder = _first(ctx, "files", "out")
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        report = json.loads(Path(folder, "report.json").read_text(encoding="utf-8"))
        return [step["name"] for step in report["steps"] if not step["exact"]]
    return []


def _first(ctx: click.Context, *names: str) -> str | Path | None:
    """Return the first argument; click has not parsed it if an option without its value ends the line."""
    given = next((ctx.params[name] for name in names if ctx.params.get(name)), ctx.args)
    return given if isinstance(given, (str, Path)) else next(iter(given), None)


def _graph(ctx: click.Context):
    """Return the network of the prototxt, without its weights; None if it cannot be read."""
    from deepmerge.errors import DeepmergeError
    from deepmerge.formats.read import read_network

    with contextlib.suppress(DeepmergeError, TypeError):
        return read_network(_first(ctx, "prototxt"))
    return None
