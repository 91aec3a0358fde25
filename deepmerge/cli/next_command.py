"""The line `next: …` that ends a command: the command that usually comes after it, to copy."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from deepmerge.cli.image_options import PREPROCESSING
from deepmerge.cli.options import WORDS
from deepmerge.text import unused

IMAGES = "folder:IMAGES"  # stands for the user's own images
Words = list[object]


def after_plan(prototxt: Path, caffemodel: Path | None, written: Path | None, found: dict[str, Any]) -> Words:
    """Return `convert` with the plan that was written, or with the same options."""
    pair = [prototxt, caffemodel or "CAFFEMODEL"]
    if not found["steps"] and not found["cleanup"]:
        return ["inspect", prototxt, *typed("inputs")]
    if written is not None:
        return ["convert", *pair, "--recipe", written, "-o", _free("out")]
    words = _typed_without("verbose", "force", "write", "frontier")
    if caffemodel is None:
        words.insert(1 + next(i for i, word in enumerate(words) if Path(word) == prototxt), pair[1])
    return ["convert", *words, "-o", _free("out")]


def after_dry_run(out: Path | None) -> Words:
    """Return `convert` with the same options, this time for good."""
    words = _typed_without("verbose", "dry_run")
    return ["convert", *words, *([] if out else ["-o", _free("out")])]


def after_convert(pair: tuple[Path, Path], out: Path, report: dict[str, Any], formats: Sequence[str]) -> Words:
    """Return `recover` if there are approximate steps, `eval` if it has been done, and `verify` without any."""
    if "caffe" not in formats:
        return ["inspect", pair[0], *typed("inputs")]
    if "recovery" in report:
        return after_training(out)
    if any(not step["exact"] for step in report["steps"]):
        return _recover(out)
    return ["verify", *pair, out / "deploy.prototxt", out / "weights.caffemodel", *typed("inputs")]


def after_training(out: Path, data: str | None = None) -> Words:
    """Return `eval`, with the test images if they are known."""
    same = [name for name in PREPROCESSING if name != "mirror"]  # which means another thing in training
    return ["eval", out, "--data", data or IMAGES, *typed(*same)]


def after_measuring(out: Path, report: dict[str, Any]) -> Words:
    """Return `recover` for a conversion with approximate steps that has not been trained; else `report`."""
    rough = any(not step["exact"] for step in report["steps"])
    if not rough or report.keys() & {"recovery", "finetuning"}:
        return ["report", out, *(["--force"] if (out / "report.html").exists() else [])]
    return _recover(out)


def after_verify(pairs: Sequence[tuple[Path, ...]], report: dict[str, Any]) -> Words:
    """Return `bench` for networks that agree, and for others what shows more of the difference."""
    (_, second), words = pairs, [*pairs[0], *pairs[1], *typed("inputs")]
    if report["ok"]:
        return ["bench", *words]
    if not report["expected"]:
        return ["verify", *_typed_without("verbose", "layers"), "--layers"]
    folder = next((f for f in list(second[0].parents)[:3:2] if (f / "report.json").exists()), None)
    sizes = [] if folder else typed("inputs")
    return ["eval", *([folder] if folder else second), "--data", IMAGES, *sizes, *typed(*PREPROCESSING)]


def _recover(out: Path) -> Words:
    fast = [] if importlib.util.find_spec("torch") else ["--stages", "lsq,refit"]  # those need no PyTorch
    how = ["--data", IMAGES, "-o", _free(f"{out}-recovered"), "--minutes", 20, *fast]
    return ["recover", out, *how, *typed("original", *PREPROCESSING)]


def _free(name: str) -> str:
    """Return the name of a folder that is not there yet."""
    taken = Path(name).parent
    return str(taken / unused(Path(name).name, [f.name for f in taken.iterdir()] if taken.is_dir() else ()))


# -- the command line as it was typed --------------------------------------------------------------


def typed(*names: str) -> list[str]:
    """Return the words of the current command line that give these parameters."""
    return [word for name, words in _parts() if name in names for word in words]


def _typed_without(*names: str) -> list[str]:
    return [word for name, words in _parts() if name not in names for word in words]


def _parts() -> list[tuple[str, list[str]]]:
    """Return the command line in parts: the parameter's name ("" for an argument), and its words."""
    ctx = click.get_current_context()
    options: dict[str, click.Parameter] = {}
    for param in ctx.command.params:
        options |= dict.fromkeys((*param.opts, *param.secondary_opts), param)
    words, parts = _without_dashes(ctx.meta[WORDS]), []
    while words:
        name, equals, _ = words[0].partition("=")
        param = options.get(name) if name.startswith("-") else None
        alone = param is None or equals or _is_flag(param)
        size = 1 if alone or _stands_alone(param, words) else 1 + param.nargs
        parts.append((param.name if param else "", words[:size]))
        words = words[size:]
    return parts


def _without_dashes(words: Sequence[str]) -> list[str]:
    """Return the words without `--`, so that options may be added: the files after it need no option's form."""
    end = words.index("--") if "--" in words else len(words)
    return [*words[:end], *(f"./{word}" if word.startswith("-") else word for word in words[end + 1 :])]


def _stands_alone(param: click.Parameter, words: list[str]) -> bool:
    """Return whether an option with an optional value is used without one."""
    return bool(getattr(param, "_flag_needs_value", False)) and (len(words) == 1 or words[1].startswith("-"))


def _is_flag(param: click.Parameter) -> bool:
    return isinstance(param, click.Option) and bool(param.is_flag)
