"""Reading TOML, which Python has from 3.11 on."""

from __future__ import annotations

from typing import Any


def parsed(text: str) -> dict[str, Any]:
    """Return a TOML document as a dict; ValueError if it is none."""
    try:
        import tomllib
    except ModuleNotFoundError:  # Python 3.10
        import tomli as tomllib
    return tomllib.loads(text)
