"""The report's "finetuning" tells what was done, and keeps what was done before."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deepmerge.train.finetune.job import finetune
from tests.train.finetune.conftest import story


def test_the_report_tells_the_story(tuned):
    shown = story(tuned)
    assert (shown["engine"], shown["device"], shown["processes"], shown["iterations"], shown["seed"]) == (
        "torch",
        "cpu",
        1,
        10,
        0,
    )
    (run,) = shown["runs"]
    assert [iteration for iteration, _ in run["losses"]] == [0, 2, 4, 6, 8] and run["step"] is None
    assert run["loss_before"] == run["losses"][0][1] and run["loss_after"] < run["loss_before"]
    assert shown["accuracy"]["images"] == 20 and shown["accuracy"]["top1"] == pytest.approx(
        shown["accuracy"]["accuracy"], abs=1e-6
    )
    assert shown["seconds"] >= run["seconds"] > 0


def test_a_second_run_keeps_the_first_ones_story(tuned, job):
    finetune(replace(job, folder=tuned, solver={"max_iter": "2"}))
    assert story(job.out)["iterations"] == 2 and story(job.out)["previous"]["iterations"] == 10
