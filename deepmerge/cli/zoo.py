"""deepmerge zoo."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deepmerge.cli.options import FILE, command, common, given, refuse
from deepmerge.cli.output import Console, has_terminal, table
from deepmerge.cli.zoo_options import Converter, Running, Showing, run_convert, running, showing
from deepmerge.errors import ReadError
from deepmerge.machine import cores
from deepmerge.names import encoded, for_terminal
from deepmerge.text import count

if TYPE_CHECKING:
    from deepmerge.zoo.manifest import Manifest
    from deepmerge.zoo.run import Job
    from deepmerge.zoo.summary import Summary

_OF_ANY = ("as_json", "quiet", "verbose", "debug")  # options that every command takes
_LISTED = 20  # failures that are printed at the end


@command(short_help="convert all models of a manifest, and show the results")
@click.argument("manifest", type=click.Path(readable=False))  # as it is typed: ./init is none of our words
@click.argument("folder", metavar="[FOLDER]", type=FILE, required=False)
@running
@showing
@common
def zoo(manifest: str, folder: Path | None, running: Running, showing: Showing, console: Console):
    """Convert all models of a manifest, each in a process of its own, and show the results.

    Models that are already in OUT are left as they are; the same command continues a stopped run. Exit code 1 if
    models failed. `deepmerge zoo init FOLDER` prints a manifest of the models in a folder. (For a manifest whose name
    is init, write ./init.)

    \b
    Examples:
      deepmerge zoo init models/ > zoo.toml
      deepmerge zoo zoo.toml -o converted/
      deepmerge zoo zoo.toml -o converted/ -j 8 --name 'resnet*' --junit zoo.xml
      deepmerge zoo zoo.toml -o converted/ --scheduler tcp://host:8786
      deepmerge zoo zoo.toml -o converted/ --shard 3/20
    """
    if manifest == "init":
        _init(folder, console)
        return
    if folder is not None:
        raise click.UsageError(
            f"one manifest at a time, found {for_terminal(folder)} as well (only init takes a folder)"
        )
    if running.out is None and not showing.check:
        raise click.UsageError("Missing option '-o' / '--out'.")
    from deepmerge.zoo.manifest import read_manifest

    read = read_manifest(manifest, Converter())
    if showing.check:
        _check(read, running, console)
        return
    if read.problems:
        more = f" (and {len(read.problems) - 1} more; --check lists all)" if len(read.problems) > 1 else ""
        raise ReadError(read.problems[0] + more)
    from deepmerge.zoo.run import check_places, jobs_of

    if showing.merge_index:
        check_places(running.out, [])
        _finish(read, running, showing, console, merge=True)
        return
    jobs = list(jobs_of(read, running.out, running.choice.of(read.models), running.threads))
    if not showing.only_list:
        check_places(running.out, jobs, running.shard)
    if showing.only_list or showing.dry_run:
        _show(jobs, running, showing, console)
        return
    with _resumable():
        with console.progress() as progress:
            _run(jobs, running, console, progress)
        _finish(read, running, showing, console)


@contextlib.contextmanager
def _resumable() -> Iterator[None]:
    """Say what an interrupted run has left."""
    try:
        yield
    except KeyboardInterrupt:
        text = "interrupted; what is done stays, and the same command goes on from there"
        raise KeyboardInterrupt(text) from None


def _init(folder: Path | None, console: Console) -> None:
    from deepmerge.zoo.find import find_models
    from deepmerge.zoo.manifest import manifest_text

    if folder is None:
        raise click.UsageError("deepmerge zoo init FOLDER: the folder is missing")
    own = [param.name for param in click.get_current_context().command.params if isinstance(param, click.Option)]
    refuse(given(*(name for name in own if name not in _OF_ANY)), "has no effect with init, which prints a manifest")
    text = manifest_text(*find_models(folder))
    if console.as_json:
        console.show({"manifest": text}, lambda: text)
    else:  # with --quiet, too, and as TOML has to be encoded: it becomes a file
        click.echo(encoded(text), nl=False)


def _check(read: Manifest, running: Running, console: Console) -> None:
    from deepmerge.zoo.run import jobs_of

    problems = list(read.problems)
    for job in jobs_of(read, running.out or Path(), read.models if problems else running.choice.of(read.models)):
        for key, found in job.task.signatures().items():
            if found is None:
                problems.append(f"{read.file}: model {job.model.name!r}, {key}: {job.task.reads[key]} is not there")
    result = {"models": len(read.models), "problems": problems}
    good = f"{count(len(read.models), 'model')}, and nothing is wrong with the manifest"
    console.show(result, lambda: "\n".join(map(for_terminal, problems)) or good)
    console.complain(problems)
    if problems:
        raise SystemExit(1)


def _show(jobs: list[Job], running: Running, showing: Showing, console: Console) -> None:
    begun = {job.model.name: _begins(job, running) for job in jobs}
    entries = [
        {"number": job.model.number, "name": job.model.name, "state": job.state, "runs": begun[job.model.name]}
        | {"prototxt": job.model.prototxt, "caffemodel": job.model.caffemodel, "options": list(job.model.words)}
        for job in jobs
        if showing.only_list or begun[job.model.name]
    ]
    keys = ("name", "state", "prototxt", "caffemodel") if showing.only_list else ("name", "prototxt", "caffemodel")

    def text() -> str:
        if showing.only_list:
            return table([[entry[key] for key in keys] for entry in entries], keys)
        rows = [[*(entry[key] for key in keys), " ".join(entry["options"])] for entry in entries]
        left = f"{count(len(entries), 'model')} would be converted, {len(jobs) - len(entries)} would not (--dry-run)"
        return "\n\n".join([table(rows, (*keys, "options")), left] if rows else [left])

    console.show({"models": entries}, text)


def _begins(job: Job, running: Running) -> bool:
    from deepmerge.zoo.run import GIVEN_UP, TO_DO

    return job.state == TO_DO or (running.retry_failed and job.state == GIVEN_UP)


def _run(jobs: list[Job], running: Running, console: Console, progress) -> None:
    """Do what is to be done, and say how it goes."""
    from deepmerge.zoo.record import CONVERTED
    from deepmerge.zoo.run import DONE, GIVEN_UP, outcomes

    states: Counter[str] = Counter()
    tasks = []
    for job in jobs:
        begins = _begins(job, running)
        states["to do" if begins else job.state] += 1
        tasks += [job.task] if begins else []
    if states[DONE] or states[GIVEN_UP]:
        failed = f", {states[GIVEN_UP]} have failed before (--retry-failed tries again)" if states[GIVEN_UP] else ""
        progress.clear()
        console.say(f"{count(states[DONE], 'model')} done before{failed}, {len(tasks)} left to do")
    if not tasks:
        return
    with _pool(running) as pool:
        failed = 0
        progress("models done", 0, len(tasks))
        for done, outcome in enumerate(outcomes(tasks, pool), 1):
            good = outcome.status == CONVERTED
            failed += not good
            if not good or not has_terminal():
                said = f"{outcome.name}: {outcome.status}, {outcome.seconds:.1f} s"
                progress.clear()
                console.say(said if good else f"{said}: {outcome.line}")
            progress(f"models done, {f'{failed} failed, ' if failed else ''}the last {outcome.name}", done, len(tasks))
            if failed and running.fail_fast:
                break


@contextlib.contextmanager
def _pool(running: Running) -> Iterator[Any]:
    if running.scheduler:
        from deepmerge.zoo.dask import cluster

        with cluster(running.scheduler, run_convert) as pool:
            yield pool
    else:
        from deepmerge.zoo.run import local_pool

        with local_pool(running.workers or cores(), run_convert) as pool:
            yield pool


def _finish(read: Manifest, running: Running, showing: Showing, console: Console, merge: bool = False) -> None:
    """Write the index and the like, print a summary, and exit with 1 if something is not converted."""
    from deepmerge.zoo.index import FILE as INDEX
    from deepmerge.zoo.index import entries, part, read_parts, write_index
    from deepmerge.zoo.pages import write_index_page
    from deepmerge.zoo.run import TO_DO, Choice, jobs_of
    from deepmerge.zoo.summary import Summary

    missing: list[str] = []
    if merge:
        found, missing = read_parts(running.out)
        file = running.out / INDEX
    else:
        jobs = list(jobs_of(read, running.out, Choice((), running.shard).of(read.models), running.threads))
        waiting = {job.model.name for job in jobs if job.state == TO_DO}
        found = entries([job.model for job in jobs], running.out, waiting)
        file = running.out / part(running.shard)
    seen = Summary.of(write_index(file, found))
    if running.shard[1] == 1 or merge:
        write_index_page(running.out, seen, read.file.stem)
    _write(seen, read.file.stem, showing)
    console.show(seen.to_dict() if console.as_json else {}, lambda: str(seen))
    chosen = {model.name for model in running.choice.of(read.models)} if not merge else None
    bad = [one for one in seen.bad if chosen is None or one.name in chosen]
    lines = [f"{name} is missing: run that shard, too" for name in missing]
    lines += [f"{one.name}: {one.status}" + (f": {one.line}" if one.line else "") for one in bad[:_LISTED]]
    lines += [f"and {len(bad) - _LISTED} more, see {file}"] if len(bad) > _LISTED else []
    for line in lines:
        click.echo(for_terminal(line), err=True)
    if bad or missing:
        raise SystemExit(1)


def _write(seen: Summary, title: str, showing: Showing) -> None:
    """Write what --junit and --markdown ask for."""
    if showing.junit is not None:
        from deepmerge.out.staging import write_whole
        from deepmerge.zoo.junit import junit

        write_whole(showing.junit, junit(seen, title))
    summary = showing.markdown or os.environ.get("GITHUB_STEP_SUMMARY")
    if summary:
        from deepmerge.zoo.markdown import markdown

        with open(summary, "ab") as file:  # a job's steps share one
            file.write(encoded(markdown(seen, title)))
