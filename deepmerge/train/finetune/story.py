"""What report.json says of a fine-tuning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deepmerge.train.finetune.stages import Stage

if TYPE_CHECKING:
    from deepmerge.train.finetune.job import Job
    from deepmerge.train.finetune.progress import Story

_SHOWN = ("type", "base_lr", "lr_policy", "max_iter", "iter_size", "momentum", "weight_decay")


def run_entry(stage: Stage, story: Story, batch_size: int) -> dict[str, Any]:
    """One stage. losses: [iteration, mean loss of the last average_loss iterations] at each display."""
    solver = {name: getattr(stage.solver, name) for name in _SHOWN}
    return {
        "step": stage.name or None,
        "solver": solver | {"batch_size": batch_size},
        "iterations": story.iteration,
        "loss_before": story.first,
        "loss_after": story.smoothed,
        "losses": story.losses,
        "tests": story.tests,
        "seconds": round(story.seconds, 3),
        "stopped": story.stopped or None,
    }


def whole_story(job: Job, runs: list[dict[str, Any]], notes: list[str], seed: int) -> dict[str, Any]:
    """The report's "finetuning". accuracy: the last test, on all test images; None without test images."""
    tests = [test for run in runs for test in run["tests"] if test["all"]]
    return {
        "engine": job.engine,
        "seed": seed,
        "data": job.data,
        "vary": job.vary,
        "test_data": job.test_data,
        "distill": None
        if job.distill is None
        else {"kind": job.distill, "weight": job.distill_weight, "temperature": job.temperature},
        "iterations": sum(run["iterations"] for run in runs),
        "seconds": round(sum(run["seconds"] for run in runs), 3),
        "loss_before": runs[0]["loss_before"],
        "loss_after": runs[-1]["loss_after"],
        "accuracy": _plain(tests[-1]) if tests else None,
        "runs": runs,
        "warnings": notes,
    }


def _plain(test: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in test.items() if key not in ("iteration", "test", "all")}
