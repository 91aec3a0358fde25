"""report.json: what was asked, what was done, and why the rest was not."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

VERSION = 1


def source_entry(path: str | Path) -> dict[str, str]:
    """A source file by its path and SHA-256."""
    with open(path, "rb") as file:
        return {
            "path": str(path),
            "sha256": hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _digest(file),
        }


def _digest(file) -> str:  # Python 3.10
    digest = hashlib.sha256()
    while chunk := file.read(1 << 20):
        digest.update(chunk)
    return digest.hexdigest()


def report_text(report: dict[str, Any]) -> str:
    """The report as JSON, two spaces an indent, keys in the order given."""
    return json.dumps(report, indent=2, ensure_ascii=False) + "\n"
