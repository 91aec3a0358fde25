"""The page, put together: sections, style, script and data in one HTML file that loads nothing."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from pathlib import Path
from string import Template

import deepmerge
from deepmerge.converted import Converted
from deepmerge.errors import one_line
from deepmerge.page.drawings import drawn, layouts
from deepmerge.page.markup import Html, code, data, element, join, shown
from deepmerge.page.sections import costs, refusals, steps, summary, training
from deepmerge.page.stages import stages

_SCRIPTS = ("page.js", "graph.js", "map.js", "scrub.js")


def make_page(converted: Converted) -> str:
    """The whole page. The same files give the same text."""
    report = converted.report
    known, notes = stages(converted)
    placed = layouts(known)
    script = Html('"use strict";\n{\n' + "\n".join(_asset(name) for name in _SCRIPTS) + "}\n")
    style = Html(_asset("page.css"))
    name = report.get("network") or Path(report["source"]["prototxt"]["path"]).stem
    return Template(_asset("page.html")).substitute(
        policy=_policy(script, style),
        version=shown(deepmerge.__version__),
        title=shown(f"{one_line(name, 80)} – deepmerge report"),
        style=style,
        script=script,
        data=data(drawn(known, placed)),
        name=shown(one_line(name, 200)),
        lead=summary.lead(report),
        strips=summary.strips(known, placed),
        totals=summary.totals(report),
        notes=join(element("p", note, class_="note") for note in notes),
        graph=Template(_asset("graph.html")).substitute(last=len(known) - 1),
        step_table=steps.step_table(report),
        cleanup=steps.cleanup(report),
        time=join([_COUNTED, costs.profiles(known), costs.by_type(known), costs.every_layer(known)], "\n"),
        accuracy=_UNKNOWN,
        refusals=refusals.refusals(report),
        warnings=refusals.warnings(report.get("warnings", [])),
        training=training.training(converted),
        source=_source(report["source"]),
    )


_COUNTED = element(
    "p",
    "Not measured here. What follows is counted from the layers' shapes: multiply-adds, and the bytes that each layer writes. "
    "It is no estimate of time.",
    class_="note",
)
_UNKNOWN = element("p", "Not measured here.", class_="note")


def _source(source: dict) -> Html:
    parts = [join([code(one["path"]), " (SHA-256 ", code(one["sha256"][:16]), "…)"]) for one in (source["prototxt"], source["caffemodel"])]
    return element("p", join(["Made from ", parts[0], " and ", parts[1], "."]))


def _policy(script: str, style: str) -> Html:
    """What the page may do: run its own script, by its hash; no other, no request, no form."""
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (script, style)]
    rules = ["default-src 'none'", f"script-src 'sha256-{hashes[0]}'", f"style-src 'sha256-{hashes[1]}'", "img-src data:"]
    return shown("; ".join([*rules, "base-uri 'none'", "form-action 'none'"]))


def _asset(name: str) -> str:
    return files("deepmerge.page").joinpath(name).read_text(encoding="utf-8")
