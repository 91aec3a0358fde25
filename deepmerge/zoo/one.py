"""One model, in a process of its own: read, convert, check, and write its folder whole."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from deepmerge.data import ImageWishes
from deepmerge.errors import ReadError
from deepmerge.out.report import write_report
from deepmerge.out.staging import staged
from deepmerge.zoo.checks import Pairs, run_checks
from deepmerge.zoo.files import is_url, local
from deepmerge.zoo.record import CONVERTED, Task, read_record, write_record, write_run

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

_MADE = ".made"  # convert's folder in the stage; no file that convert writes has this name


def make(task: Task, convert: Callable[[Sequence[str]], ImageWishes]) -> None:
    """Convert the model and check it, unless its folder has this result already. It raises what is wrong."""
    begun = time.monotonic()
    os.chdir(task.base)
    signatures = task.signatures()
    known = read_record(task.out)
    if task.sha256 or known is not None:
        digests = task.digests()
        _check_sha256(task, digests)
        if known is not None and known.status == CONVERTED and known.is_of(task, digests):
            write_run(Path(task.out), {**known.run, "signatures": signatures})  # only touched
            return
    with contextlib.ExitStack() as stack:
        pair = [stack.enter_context(local(place)) for place in task.pair]
        stage = stack.enter_context(staged(task.out, force=True))
        wishes = _convert(task, convert, pair, stage)
        report = _report(task, stage)
        inputs = {name: tuple(size) for name, size in report.get("inputs", {}).items()}
        pairs = Pairs((Path(pair[0]), Path(pair[1])), stage, inputs, task.threads, wishes)
        checks = run_checks(pairs, dict(task.expect))
        digests = task.digests({kind: report["source"][kind]["sha256"] for kind in ("prototxt", "caffemodel")})
        _check_sha256(task, digests)  # once more: of a URL, another download was converted
        more = {**_summary(report), "page": (stage / "report.html").exists()}
        write_record(stage, task, digests, more, _run(begun, checks, signatures))


def _convert(
    task: Task, convert: Callable[[Sequence[str]], ImageWishes], pair: Sequence[str], stage: Path
) -> ImageWishes:
    """Run convert, move what it wrote into the stage, and return how it prepared images."""
    made = stage / _MADE
    wishes = convert([*task.words, f"--out={made}", "--", *pair])
    for path in made.iterdir():
        path.rename(stage / path.name)
    made.rmdir()
    return wishes


def _report(task: Task, stage: Path) -> dict[str, Any]:
    """Return the report in the stage, in which the network is where the manifest says."""
    report = json.loads((stage / "report.json").read_bytes())
    if any(map(is_url, task.pair)):  # where the copies were says nothing
        for kind, place in zip(("prototxt", "caffemodel"), task.pair, strict=True):
            report["source"][kind]["path"] = place
        write_report(stage, report)
    return report


def _check_sha256(task: Task, digests: Mapping[str, str | None]) -> None:
    for kind, wanted in task.sha256.items():
        if digests[kind] is not None and digests[kind] != wanted:
            text = f"its SHA-256 is {digests[kind]}, and the manifest says {wanted}"
            raise ReadError(text, task.reads[kind], remedy="get the file again, or correct the manifest")


def _summary(report: dict[str, Any]) -> dict[str, Any]:
    """Return what result.json says of a conversion; report.json has all of it."""
    kept = ("layers", "params", "macs", "storage_bytes")
    sizes = {when: {key: report[when][key] for key in kept} for when in ("before", "after")}
    rough = sum(not step["exact"] for step in report["steps"])
    steps = {"steps": len(report["steps"]), "approximate_steps": rough}
    return {"status": CONVERTED, **sizes, **steps, "refusals": report["refusals"], "warnings": report["warnings"]}


def _run(begun: float, checks: dict[str, Any], signatures: dict[str, Any]) -> dict[str, Any]:
    run: dict[str, Any] = {"seconds": round(time.monotonic() - begun, 3)}
    if resource is not None:
        run["peak_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {**run, "checks": checks, "signatures": signatures}
