"""Make the pages that come from the code: the reference of all commands, and the passes with their drawings.

Each is the body of a page in reference/, which includes it. Running this file writes both into _generated/.
"""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path

import click

from deepmerge.cli import main as group
from deepmerge.passes.registry import PASSES

FOLDER = Path(__file__).parent / "_generated"
ACCURACY = {True: "Exact.", False: "Approximate: recover or fine-tune the network afterwards."}


def main() -> None:
    """Write both bodies."""
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "commands.md").write_text(commands(), encoding="utf-8")
    (FOLDER / "passes.md").write_text(passes(), encoding="utf-8")


def commands() -> str:
    """Return a section for each command: its usage, its help and its options."""
    top = click.Context(group, info_name="deepmerge")
    names = group.list_commands(top)
    sections = [_command(click.Context(group.get_command(top, name), info_name=name, parent=top)) for name in names]
    return "\n\n".join(sections) + "\n"


def passes() -> str:
    """Return a section for each pass, from its module's docstring: the first line, then the drawing."""
    sections = []
    for name, kind in PASSES.items():
        summary, _, drawing = (sys.modules[kind.__module__].__doc__ or "").strip().partition("\n")
        sections.append(f"## {name}\n\n{summary}\n\n*{ACCURACY[kind.exact]}*\n\n```text\n{drawing.strip()}\n```")
    return "\n\n".join(sections) + "\n"


def _command(ctx: click.Context) -> str:
    usage = " ".join(["deepmerge", str(ctx.info_name), *ctx.command.collect_usage_pieces(ctx)])
    parts = [f"## {ctx.info_name}", f"```text\n{usage}\n```", _help(ctx.command.help or "")]
    tables: dict[str, list[str]] = {}
    for param in ctx.command.get_params(ctx):
        record = param.get_help_record(ctx)
        if record is not None and isinstance(param, click.Option):
            names, text = (cell.replace("|", "\\|") for cell in record)
            tables.setdefault(getattr(param, "heading", ""), []).append(f"| `{names}` | {_marked(text)} |")
    for heading, rows in tables.items():
        head = [f"**{heading}**", ""] if heading else []
        parts.append("\n".join([*head, "| option | what it does |", "|---|---|", *rows]))
    return "\n\n".join(parts)


def _help(text: str) -> str:
    """Return a command's help as Markdown. A paragraph that click keeps as it is becomes a code block."""
    blocks = re.split(r"\n\s*\n", inspect.cleandoc(text).partition("\f")[0])
    made = []
    for block in blocks:
        if not block.startswith("\b"):
            made.append(_marked(" ".join(block.split())))
            continue
        head, _, rest = block.lstrip("\b\n").partition("\n")
        if head.endswith(":"):
            made.append(f"{head}\n\n```text\n{inspect.cleandoc(chr(10) + rest)}\n```")
        else:
            made.append(f"```text\n{head}\n{rest}\n```")
    return "\n\n".join(made)


def _marked(text: str) -> str:
    """Return a text with options as code, and with Markdown's own signs shown as they are."""
    pieces = re.split(r"(`[^`]*`|(?<![\w-])--?[a-z][\w-]*)", text)
    return "".join(_piece(piece) for piece in pieces)


def _piece(piece: str) -> str:
    if piece.startswith("`"):
        return piece
    if re.fullmatch(r"--?[a-z][\w-]*", piece):
        return f"`{piece}`"
    return re.sub(r"([<>*_\[\]$])", r"\\\1", piece)


if __name__ == "__main__":
    main()
