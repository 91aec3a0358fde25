"""Bring older forms of a network to today's, before anything else looks at the tree."""

from __future__ import annotations

from pathlib import Path

from deepmerge.errors import ReadError
from deepmerge.formats.read.legacy.batch_norm import freeze_statistics
from deepmerge.formats.read.legacy.inputs import upgrade_inputs
from deepmerge.formats.read.legacy.transform import move_transforms
from deepmerge.formats.read.legacy.v0 import is_v0, upgrade_v0
from deepmerge.formats.read.legacy.v1 import upgrade_v1
from deepmerge.graph.tree import Message


def refuse_mixed(net: Message, file: str | Path) -> None:
    """Raise ReadError for a file that mixes `layer` and `layers`."""
    old = next((f for f in net if f.name == "layers"), None)
    new = next((f for f in net if f.name == "layer"), None)
    if old and new:
        where = f"`layer` (line {new.line}) and `layers` (line {old.line})"
        text = f"mixes {where}, and Caffe would lose some of them; write all as `layer`"
        raise ReadError(text, file, old.line, old.column)


def upgrade(net: Message, file: str | Path, warnings: list[str] | None = None) -> Message:
    """Return the tree in today's (V2) form. Caffe: upgrade_proto.cpp, UpgradeNetAsNeeded.

    warnings: gets a line for each thing in an older form that is left out or guessed.
    ReadError for a file without layers, and for what Caffe's own upgrade refuses.
    """
    warnings = [] if warnings is None else warnings
    if "layers" in net:
        if is_v0(net):
            net = upgrade_v0(net, file, warnings)
        net = upgrade_v1(move_transforms(net), warnings)
    if "layer" not in net:
        names = ", ".join(list(dict.fromkeys(f.name for f in net))[:5])
        raise ReadError(f"holds no `layer`, only {names}; is it a network's prototxt (not a solver's)?", file)
    return freeze_statistics(upgrade_inputs(net, file, warnings))
