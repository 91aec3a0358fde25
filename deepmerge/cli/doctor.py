"""deepmerge doctor."""

from __future__ import annotations

import click

from deepmerge.cli.options import common
from deepmerge.cli.output import show, show_json, table

MARKS = {"ok": "ok", "absent": "-", "warning": "warning", "missing": "MISSING"}


@click.command(short_help="what is installed, and how to get what is missing")
@common
def doctor(as_json, quiet, verbose, debug):
    """Look at what deepmerge needs and could use: packages, engines, real Caffe, CUDA. Exit code 1 where something that
    it needs is missing. With -v also real Caffe's layer types.

    \b
    Examples:
      deepmerge doctor
      deepmerge doctor --json
    """
    from deepmerge.doctor import examine
    from deepmerge.errors import DeepmergeError

    checks = examine()
    missing = [check.name for check in checks if check.state == "missing"]
    if as_json:
        entries = [
            {"name": c.name, "state": c.state, "found": c.found, "remedy": c.remedy, "details": c.details}
            for c in checks
        ]
        show_json({"ok": not missing, "checks": entries})
    else:
        show(_told(checks, verbose), quiet)
    if missing:
        raise DeepmergeError(f"needed and not there, or not working: {', '.join(missing)}")


def _told(checks, verbose: bool) -> str:
    rows = []
    for check in checks:
        rows.append((MARKS[check.state], check.name, check.found))
        if check.remedy:
            rows.append(("", "", f"-> {check.remedy}"))
        if verbose and check.details.get("types"):
            rows.append(("", "", " ".join(check.details["types"])))
    return table(rows)
