"""What a manifest expects of a converted model, measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepmerge import api
from deepmerge.data import ImageWishes
from deepmerge.errors import DeepmergeError
from deepmerge.names import for_terminal

Sizes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Pairs:
    """The two networks to compare.

    made: the folder of the conversion. inputs: the sizes of the inputs, if given. wishes: how convert prepared images.
    """

    original: tuple[Path, Path]
    made: Path
    inputs: Sizes
    threads: int
    wishes: ImageWishes = ImageWishes()

    @property
    def final(self) -> tuple[Path, Path]:
        """The converted network's files."""
        return self.made / "deploy.prototxt", self.made / "weights.caffemodel"


class ExpectationError(DeepmergeError):
    """A converted model that is not what the manifest expects."""


def run_checks(pairs: Pairs, expect: dict[str, Any]) -> dict[str, float | bool]:
    """Return what each check measured; ExpectationError with all that is not as expected."""
    measured, missed = {}, []
    for key, check in _CHECKS.items():
        if key in expect:
            measured[key], line = check(pairs, expect)
            missed += [line] if line else []
    if missed:
        raise ExpectationError("; ".join(missed))
    return measured


def _verify(pairs: Pairs, expect: dict[str, Any]) -> tuple[float | None, str]:
    tolerance = float(expect["verify"])
    how = {"tolerance": tolerance, "inputs": pairs.inputs, "threads": pairs.threads}
    report = api.verify(pairs.original, pairs.final, **how)
    values = [entry["relative"] for entry in report["outputs"]]
    worst = None if None in values else max(values, default=0.0)
    return worst, "" if report["ok"] else f"verify: {report['failures'][0]}"


def _max_loss(pairs: Pairs, expect: dict[str, Any]) -> tuple[float, str]:
    """Measure the loss of top-1 in points: of accuracy if the images have labels, else of agreement."""
    how = {"limit": expect.get("images"), "inputs": pairs.inputs, "threads": pairs.threads, "wishes": pairs.wishes}
    report = api.evaluate(pairs.final, expect["data"], top=(1,), against=pairs.original, **how)
    final, original = report["networks"][-1], report["against"]
    if final["top"]:
        kind, loss = "accuracy", original["top"][1] - final["top"][1]
    else:
        kind, loss = "agreement", 1 - final["agreement"]["top1"]
    points = round(100 * loss, 4)
    over = points > expect["max_loss"]
    text = f"max_loss: it lost {points:g} points of top-1 {kind} on {report['images']} images, and "
    return points, for_terminal(text) + f"{expect['max_loss']:g} are allowed" if over else ""


def _speedup(pairs: Pairs, expect: dict[str, Any]) -> tuple[float, str]:
    from deepmerge.engines.timing.timing import Budget
    from deepmerge.measure.bench import Settings, bench
    from deepmerge.measure.harness.networks import Source, read_networks

    sources = [Source("before", *pairs.original), Source("after", *pairs.final)]
    settings = Settings(("ort",), ("time",), pairs.threads, budget=Budget(seconds=10.0))
    found = bench(read_networks(sources, inputs=pairs.inputs), settings)["engines"][0]
    refused = found["absent"] or next(filter(None, (entry["refused"] for entry in found["networks"])), None)
    if refused:
        raise DeepmergeError(f"speedup cannot be measured: {refused}")
    factor = round(1 / found["networks"][1]["ratio"]["value"], 3)
    slow = factor < expect["speedup"]
    return factor, f"speedup: {factor:g} times as fast, and {expect['speedup']:g} was asked" if slow else ""


def _target(pairs: Pairs, expect: dict[str, Any]) -> tuple[bool, str]:
    (found,) = api.load(*pairs.final, inputs=pairs.inputs).check(expect["target"])["targets"]
    if found["taken"]:
        return True, ""
    first = next(one for one in found["problems"] if "only_for" not in one)
    return False, f"target: {expect['target']} does not take layer {first['layer']!r}: {first['reason']}"


_CHECKS: dict[str, Callable[[Pairs, dict[str, Any]], tuple[Any, str]]] = {
    "verify": _verify,
    "max_loss": _max_loss,
    "speedup": _speedup,
    "target": _target,
}
