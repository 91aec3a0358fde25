"""The page, put together: sections, style, script and data in one HTML file that loads nothing."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from string import Template

import deepmerge
from deepmerge.errors import EmitError
from deepmerge.formats.read.inputs import Sizes
from deepmerge.names import for_terminal
from deepmerge.out.read import Converted, Pair, read_converted
from deepmerge.out.staging import write_whole
from deepmerge.page.assets import asset, head
from deepmerge.page.checked import checked
from deepmerge.page.markup import Html, code, data, element, join, shown, without_folders
from deepmerge.page.measured import Measured, read_measured, read_steps
from deepmerge.page.script_data import drawn, layouts
from deepmerge.page.sections import accuracy, choice, costs, steps, summary, times
from deepmerge.page.sections.headline import headline
from deepmerge.page.stages import Stage, stages
from deepmerge.page.training import trained

_SCRIPTS = ("page.js", "graph.js", "map.js", "scrub.js")


@dataclass(frozen=True)
class Files:
    """What `profile`, `bench` and `table` measured, as their --json; None where that was not given."""

    profile: Path | None = None
    bench: Path | None = None
    table: Path | None = None


def write_page(
    folder: Path,
    file: Path | None = None,
    original: Pair | None = None,
    files: Files | None = None,
    force: bool = False,
    inputs: Sizes | None = None,
) -> Path:
    """Write the page of what `convert`, `recover` or `finetune` wrote to `folder`, and return its path.

    file: where to write it; report.html in the folder by default. inputs: sizes of the networks' inputs. EmitError
    if it exists and `force` is not given, or if it cannot be written.
    """
    file = Path(folder, "report.html") if file is None else file
    if file.is_dir():
        raise EmitError(f"{file}: is a folder", file=file, remedy="give a file's name with -o")
    if os.path.lexists(file) and not force:
        remedy = "give another name with -o, or --force to replace it"
        raise EmitError(f"{file}: exists already", file=file, remedy=remedy)
    text = make_page(read_converted(folder, original, need_final=False, inputs=inputs), files or Files())
    write_whole(file, text)
    return file


def make_page(converted: Converted, files: Files = Files()) -> str:
    """Make the whole page. The same files give the same text. ReadError if one is of another kind."""
    report = checked(converted.report, converted.folder)
    profile = files.profile and read_measured(files.profile, "profile")
    bench = files.bench and read_measured(files.bench, "bench")
    table = files.table and read_steps(files.table)
    known, notes = stages(converted)
    folders = _folders(converted)
    placed = layouts(known)
    script = Html('"use strict";\n{\n' + "\n".join(asset(name) for name in _SCRIPTS) + "}\n")
    style = Html(asset("page.css"))
    name = report.get("network") or Path(report["source"]["prototxt"]["path"]).stem
    return Template(asset("page.html")).substitute(
        head=head(f"{for_terminal(name, 80)} – deepmerge report", style, script),
        version=shown(deepmerge.__version__),
        script=script,
        data=data(drawn(known, placed) | {"trained": trained(report)}),
        name=shown(for_terminal(name, 200)),
        lead=join([headline(report, table, bench, profile), summary.lead(report)], "\n"),
        strips=summary.strips(known, placed),
        totals=summary.totals(report),
        notes=join(element("p", without_folders(note, folders), class_="note") for note in notes),
        graph=Template(asset("graph.html")).substitute(last=len(known) - 1) if known else "",
        step_table=steps.step_table(report),
        cleanup=steps.cleanup(report),
        time=_time(known, profile, bench),
        accuracy=join([accuracy.accuracy(report, table, bench), choice.choice(report.get("choice"))], "\n"),
        refusals=steps.refusals(report),
        warnings=steps.warnings(report["warnings"], folders),
        training=accuracy.training(converted),
        source=_source(report["source"]),
    )


def _time(known: list[Stage], profile: Measured | None, bench: Measured | None) -> Html:
    """Return what was measured, and what was counted, each under its name."""
    parts = [times.profile(profile)] if profile else []
    parts += [times.bench(bench)] if bench else []
    counted = [_COUNTED, costs.profiles(known), costs.by_type(known), costs.every_layer(known)] if known else []
    if parts and counted:
        summary = element("summary", "Counted: MACs and bytes of each layer")
        counted = [element("details", join([summary, *counted], "\n"), class_="counted")]
    elif not parts:
        counted.insert(0, _UNMEASURED)
    return join([*parts, *counted], "\n")


_UNMEASURED = element(
    "p",
    "Times were not measured. ",
    code("deepmerge profile before=NET.prototxt NET.caffemodel after=OUT --json > profile.json"),
    " measures them, and ",
    code("deepmerge report OUT --profile profile.json --force"),
    " shows them here.",
    class_="note",
)
_COUNTED = element(
    "p",
    "What follows is counted from the layers' shapes, not measured: multiply-adds, and the bytes that each layer "
    "writes, for one image. How long they take depends on the machine.",
)


def _folders(converted: Converted) -> list[Path]:
    """Return the folders that messages may name: OUT's, and those of the network that was converted."""
    source = converted.report["source"]
    files = [*(Path(source[kind]["path"]) for kind in ("prototxt", "caffemodel")), *(converted.given or ())]
    out = Path(converted.folder).absolute()
    return [out, out.parent, *(file.parent for file in files if file.is_absolute())]


def _source(source: dict) -> Html:
    prototxt, caffemodel = (
        join([code(Path(source[kind]["path"]).name), " (SHA-256 ", code(source[kind]["sha256"][:16]), "…)"])
        for kind in ("prototxt", "caffemodel")
    )
    return element("p", "Made from ", prototxt, " and ", caffemodel, ".")
