"""What recovery and fine-tuning have done to the network, as report.json says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from deepmerge.page.checked import is_number
from deepmerge.text import count


@dataclass(frozen=True)
class Agreement:
    """How often the network gives the original's answer, before recovery and after it. images: on which, in words."""

    before: float
    after: float
    images: str


def trained(report: dict[str, Any]) -> str:
    """Return "recovered", "fine-tuned", both, or "" if the weights are those of the conversion."""
    kept = [one for one in entries(report.get("recovery"), "stages") if not one.get("undone")]
    runs = entries(report.get("finetuning"), "runs")
    return " and ".join(name for name, done in (("recovered", kept), ("fine-tuned", runs)) if done)


def undone(report: dict[str, Any]) -> list[str]:
    """Return the names of the stages that recovery took back, because they made the network worse."""
    return [str(one.get("name", "?")) for one in entries(report.get("recovery"), "stages") if one.get("undone")]


def agreement(report: dict[str, Any]) -> Agreement | None:
    """Return the agreement that `recover` measured; None if it measured none."""
    story = entry(report.get("recovery"))
    before, after = (story.get(f"agreement_{when}") for when in ("before", "after"))
    if not (is_number(before) and is_number(after)):
        return None
    held_out = story.get("held_out")
    images = count(held_out, "held-out image") if is_number(held_out) and held_out else "the training images"
    return Agreement(before, after, images)


def entry(value: Any) -> dict[str, Any]:
    """Return the value if it is an object; else an empty one."""
    return value if isinstance(value, dict) else {}


def entries(value: Any, key: str) -> list[dict[str, Any]]:
    """Return the objects in the list under a key; none if there is no such list."""
    found = entry(value).get(key)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
