"""The "finetuning" entry of report.json."""

from __future__ import annotations

from typing import Any

from deepmerge.train.finetune.spec import Job


def finetuning_entry(
    job: Job, about: dict[str, Any], runs: list[dict[str, Any]], warnings: list[str]
) -> dict[str, Any]:
    """Return the report's "finetuning". Its accuracy is that of the last test; None without any.

    about: the engine and its seed, and where it ran.
    """
    tests = [test for run in runs for test in run["tests"] if test["all"] or test["iteration"] == run["iterations"]]
    return {
        **about,
        "data": job.data,
        "vary": job.vary,
        "test_data": job.test_data,
        "distill": _distilling(job),
        "iterations": sum(run["iterations"] for run in runs),
        "seconds": round(sum(run["seconds"] for run in runs), 3),
        "loss_before": runs[0]["loss_before"],
        "loss_after": runs[-1]["loss_after"],
        "accuracy": _accuracy(tests[-1]) if tests else None,
        "runs": runs,
        "warnings": warnings,
    }


def _distilling(job: Job) -> dict[str, Any] | None:
    if job.distill is None:
        return None
    return {"kind": job.distill, "weight": job.distill_weight, "temperature": job.temperature}


def _accuracy(test: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in test.items() if key not in ("iteration", "test", "all")}
