"""OUT2: a copy of OUT with the weights of the stages."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from deepmerge.formats.read.weights import load_weights
from deepmerge.out.read import Converted
from deepmerge.out.rewrite import Retrained, rewrite
from deepmerge.out.staging import staged
from deepmerge.text import listed
from deepmerge.train.finetune.run import Trained
from deepmerge.train.shared.int8 import renew_int8


def write_output(
    converted: Converted, out: Path, force: bool, trained: Sequence[Trained], report: dict[str, Any]
) -> dict[str, Any]:
    """Write OUT2 whole or not at all, and return its report. The final network gets the last stage's weights.

    Layers that no stage has trained are added to the report's warnings.
    """
    final = converted.final.read()
    kept = load_weights(final, trained[-1].weights, misfits="skip")
    report = _with_untrained(report, [layer.name for layer in kept])
    steps = (_step(result) for result in trained if result.stage.name)
    with staged(out, force) as folder:
        report = renew_int8(converted, folder, final, report)
        rewrite(converted, folder, chain([Retrained(final, converted.final)], steps), report)
        for result in trained:
            for snapshot in result.snapshots:
                shutil.copyfile(snapshot, folder / result.stage.folder / snapshot.name)
    return report


def _with_untrained(report: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """Return the report with a warning about the layers that no step has trained, if there are any."""
    if not names:
        return report
    entry = report["finetuning"]
    warnings = [*entry["warnings"], f"no step has trained {listed(names)}, which keep their weights"]
    return {**report, "finetuning": {**entry, "warnings": warnings}}


def _step(result: Trained) -> Retrained:
    stage = result.stage
    graph = stage.pair.read()
    load_weights(graph, result.weights, misfits="skip")
    return Retrained(graph, stage.pair, stage.new_layers, complete=stage.solver is not None)
