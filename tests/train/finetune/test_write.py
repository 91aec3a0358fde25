"""OUT2: it has OUT's form, and the weights that were trained."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from deepmerge.train.finetune.job import finetune
from deepmerge.train.shared.checkpoint import checkpoint_folder
from tests.train.finetune.conftest import files, weights, with_heads
from tests.train.finetune.small import AUXILIARY, HEADS


def test_out2_has_outs_form_and_other_weights(made, tuned):
    assert files(tuned) == files(made / "out") | {Path("snapshot_iter_10.caffemodel")}
    before, after = (weights(folder / "weights.caffemodel") for folder in (made / "out", tuned))
    assert before.keys() == after.keys() and not any(np.array_equal(before[name][0], after[name][0]) for name in after)
    report = json.loads((tuned / "report.json").read_text())
    assert {key: value for key, value in report.items() if key != "finetuning"} == json.loads(
        (made / "out" / "report.json").read_text()
    )
    assert not checkpoint_folder(tuned).exists()


def test_the_snapshot_is_the_trained_network(tuned):
    final, snapshot = weights(tuned / "weights.caffemodel"), weights(tuned / "snapshot_iter_10.caffemodel")
    assert all(np.array_equal(a, b) for name in final for a, b in zip(final[name], snapshot[name], strict=True))


def test_auxiliary_heads_learn_from_step_to_step(made, tmp_path, job):
    """They are in no network that is used, so no caffemodel has weights for them: their fillers start them, once."""
    out = with_heads(made, tmp_path, HEADS + AUXILIARY)
    shown = finetune(replace(job, folder=out, steps="all"))["finetuning"]
    assert shown["warnings"] == ["no caffemodel has weights for aux; fillers make them"]
    snapshots = [weights(job.out / "steps" / name / "snapshot_iter_3.caffemodel") for name in ("01-conv1", "02-conv2")]
    assert all(set(one) == {"conv1", "conv2", "fc", "aux"} for one in snapshots)
    moved = np.abs(snapshots[1]["aux"][0] - snapshots[0]["aux"][0]).max()
    assert 0 < moved < 0.1 * np.abs(snapshots[0]["aux"][0]).max()  # it went on from where it was
    assert "aux" not in weights(job.out / "weights.caffemodel")
