"""deepmerge doctor."""

from __future__ import annotations

from deepmerge.cli.options import command, common
from deepmerge.cli.output import Console, table

MARKS = {"ok": "ok", "absent": "-", "warning": "warning", "missing": "MISSING"}


@command(short_help="show what is installed, and how to get what is missing")
@common
def doctor(console: Console):
    """Check what deepmerge needs and what it can use: packages, engines, real Caffe, CUDA.

    The exit code is 1 if something that deepmerge needs is missing. With -v, also list real Caffe's layer types.

    \b
    Examples:
      deepmerge doctor
      deepmerge doctor --json
    """
    from deepmerge.doctor import examine
    from deepmerge.errors import DeepmergeError

    with console.progress() as progress:
        checks = examine(progress)
    missing = [check.name for check in checks if check.state == "missing"]
    entries = [
        {"name": c.name, "state": c.state, "found": c.found, "remedy": c.remedy, "details": c.details} for c in checks
    ]
    console.show({"ok": not missing, "checks": entries}, lambda: _text(checks, console.verbose))
    if missing:
        raise DeepmergeError(f"missing or not working: {', '.join(missing)}")


def _text(checks, verbose: bool) -> str:
    rows = []
    for check in checks:
        rows.append((MARKS[check.state], check.name, check.found))
        if check.remedy:
            rows.append(("", "", f"-> {check.remedy}"))
        if verbose and check.details.get("types"):
            rows.append(("", "", " ".join(check.details["types"])))
    return table(rows)
