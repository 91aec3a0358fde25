"""JUnit XML: a test case for each model, as CI services read it."""

from __future__ import annotations

from xml.etree import ElementTree as Xml

from deepmerge.names import for_terminal
from deepmerge.zoo.record import CONVERTED
from deepmerge.zoo.summary import Row, Summary, waiting


def junit(summary: Summary, title: str) -> bytes:
    """Return the document. A model that was not begun counts as skipped, one that is not converted as a failure."""
    rows = summary.rows
    skipped = sum(map(waiting, rows))
    counts = {"tests": len(rows), "failures": len(summary.bad) - skipped, "errors": 0, "skipped": skipped}
    seconds = f"{sum(row.seconds or 0 for row in rows):.3f}"
    attributes = {"name": for_terminal(title), **{key: str(value) for key, value in counts.items()}, "time": seconds}
    suites = Xml.Element("testsuites")
    suite = Xml.SubElement(suites, "testsuite", attributes)
    for row in rows:
        suite.append(_case(row, for_terminal(title)))
    Xml.indent(suites)
    return Xml.tostring(suites, encoding="utf-8", xml_declaration=True) + b"\n"


def _case(row: Row, title: str) -> Xml.Element:
    """Return a model's test case. XML takes no control characters, so names are as a terminal shows them."""
    attributes = {"classname": title, "name": for_terminal(row.name), "time": f"{row.seconds or 0:.3f}"}
    case = Xml.Element("testcase", attributes)
    if waiting(row):
        Xml.SubElement(case, "skipped", {"message": row.status})
    elif row.status != CONVERTED:
        failure = Xml.SubElement(case, "failure", {"type": row.status, "message": for_terminal(row.line)})
        failure.text = for_terminal(row.line)
    return case
