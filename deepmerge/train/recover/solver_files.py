"""The solvers of OUT2: how to fine-tune what has been recovered, which is near its goal already.

`convert` writes solvers for layers that start far from it: new layers learn ten times as fast as the others, and the
rate falls late. After recovery all layers learn at one rate, which falls in a straight line, with gradients clipped.
Only lines that are still as `convert` writes them are changed, so what the user has set stays.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from deepmerge.formats.read.prototxt import read_prototxt
from deepmerge.formats.write.train_val import NEW_RATES, OLD_RATES
from deepmerge.graph.tree import Message
from deepmerge.names import decoded, encoded

CLIP = 10
_ABOUT = f"""\
# The weights are recovered, so all layers learn at 1 x base_lr (their biases at 2 x).
# Gradients are clipped at a norm of {CLIP}, so that a large one spoils little.
"""
_SOLVER = (
    (r"^# New layers learn at 10 x base_lr .*\n", _ABOUT),
    (r"^(# Step size at iteration i: .*) \^ 0\.5(,.*)$", r"\1 ^ 1\2"),
    (r"^power: 0\.5$", "power: 1"),
)


def write_solvers(folder: Path, new: Collection[str]) -> None:
    """Change solver.prototxt and train_val.prototxt in a folder of OUT2, if they are there.

    new: the names of the layers that approximate steps have made.
    """
    solver, train_val = folder / "solver.prototxt", folder / "train_val.prototxt"
    if not (solver.is_file() and train_val.is_file()):
        return
    text = decoded(solver.read_bytes())
    for pattern, replacement in _SOLVER:
        text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
    if "clip_gradients" not in read_prototxt(solver):
        text += f"clip_gradients: {CLIP}\n"
    solver.write_bytes(encoded(text))
    lines = decoded(train_val.read_bytes()).split("\n")
    for layer in read_prototxt(train_val).values("layer"):
        if str(layer.value("name")) in new:
            _slow_down(lines, layer)
    train_val.write_bytes(encoded("\n".join(lines)))


def _slow_down(lines: list[str], layer: Message) -> None:
    """Give the layer's `param` messages, which begin at their line, the rates of old layers."""
    for spec, (fast, _), (slow, _) in zip(layer.values("param"), NEW_RATES, OLD_RATES, strict=False):
        if str(spec.value("lr_mult")) != str(fast):
            continue
        place = next(i for i in range(spec.line - 1, len(lines)) if "lr_mult" in lines[i])
        lines[place] = lines[place].replace(f"lr_mult: {fast}", f"lr_mult: {slow}")
