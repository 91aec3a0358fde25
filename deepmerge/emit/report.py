"""report.json: what was asked, what was done, and why the rest was not."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

VERSION = 1


def source_entry(path: str | Path, sha256: str | None = None) -> dict[str, str]:
    """A source file by its path and SHA-256. sha256: of a large file, as deepmerge.digest takes it."""
    return {"path": str(path), "sha256": sha256 or hashlib.sha256(Path(path).read_bytes()).hexdigest()}


def report_text(report: dict[str, Any]) -> str:
    """The report as JSON, two spaces an indent, keys in the order given."""
    return json.dumps(report, indent=2, ensure_ascii=False) + "\n"
