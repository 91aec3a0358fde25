"""What the command line has, as `--help` shows it."""

from __future__ import annotations

import click

from deepmerge.cli import main


def commands() -> dict[str, click.Command]:
    """Every command by its name, in the order of `deepmerge --help`."""
    return {name: main.commands[name] for name in main.list_commands(click.Context(main))}


def options(command: str) -> list[tuple[str, ...]]:
    """Every option of a command, in all its spellings: ("-o", "--out")."""
    return [tuple(p.opts) for p in commands()[command].params if isinstance(p, click.Option) and not p.hidden]


def missing_from(text: str) -> list[str]:
    """The commands that a text does not mention, and the options of which it mentions no spelling."""
    spellings = dict.fromkeys(spelt for name in commands() for spelt in options(name))
    missing = [f"deepmerge {name}" for name in commands() if f"deepmerge {name}" not in text]
    return missing + [spelt[-1] for spelt in spellings if not any(word in text for word in spelt)]
