"""What profile and bench share: NET … and how networks are measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import click

from deepmerge.cli.options import MORE, Amount, Listed, bundle, given, inputs, option, options
from deepmerge.engines import ENGINES, USUAL
from deepmerge.errors import EngineError
from deepmerge.names import for_terminal
from deepmerge.text import count


@dataclass(frozen=True)
class Measuring:
    """Which networks are measured, and how."""

    words: tuple[str, ...]
    engines: tuple[str, ...]
    threads: int
    batch: int | None
    device: str
    seconds: float
    repeat: int | None
    seed: int
    inputs: dict[str, tuple[int, ...]]

    def read(self, variants: bool = False) -> list[Any]:
        """Return the networks that NET … names; UsageError where the words name none.

        variants: with those that belong to them; see with_variants.
        """
        from deepmerge.measure.harness.networks import parse_networks, read_networks, with_variants

        try:
            sources = parse_networks(self.words)
        except ValueError as error:
            raise click.UsageError(str(error)) from None
        return read_networks(with_variants(sources) if variants else sources, self.batch, self.inputs)

    def engines_for(self, nets: list[Any]) -> tuple[str, ...]:
        """Return the engines: those given, else the usual ones, and ONNX Runtime's own LRN where a network has LRN."""
        if given("engines") or not any(layer.type == "LRN" for net in nets for layer in net.graph.layers):
            return self.engines
        return tuple(name for name in ENGINES if name in self.engines or name == "ort-lrn-op")

    def budget(self):
        """Return when to stop measuring."""
        from deepmerge.engines.timing.timing import Budget

        if self.repeat is None:
            return Budget(seconds=self.seconds)
        return Budget(narrow=-1, least=self.repeat, most=self.repeat, seconds=None)


measuring = bundle(
    "measuring",
    Measuring,
    click.argument("words", metavar="NET...", nargs=-1, required=True),
    option(
        "--engine",
        "engines",
        type=Listed(tuple(ENGINES), empty=False),
        default=",".join(USUAL),
        help="Engines. ort-lrn-op: ort with its own, slow LRN; ort-int8: ort in int8.",
    ),
    option("--threads", type=click.IntRange(1), default=1, metavar="N", help="CPU threads of each engine."),
    option("--batch", type=click.IntRange(1), metavar="N", help="Batch size.  [default: as the prototxt says]"),
    options(
        option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", help="Where engine torch runs."),
        inputs,
        heading=MORE,
    ),
    option(
        "--seconds",
        type=Amount(0, min_open=True),
        default=30.0,
        metavar="N",
        help="Time limit for each engine's runs of whole networks.",
    ),
    options(
        option(
            "--repeat",
            type=click.IntRange(2),
            metavar="N",
            help="Run N rounds (N+1 if N is odd), and ignore --seconds.",
        ),
        option(
            "--seed",
            type=click.IntRange(0),
            default=0,
            metavar="N",
            help="Seed of the order in which networks take turns.",
        ),
        heading=MORE,
    ),
)


def settings_line(report: dict) -> str:
    """Return what was measured on, for people."""
    machine, threads = report["machine"], count(report["settings"]["threads"], "thread")
    loads = [one[0] for one in (machine["load"], report["load_after"]) if one]
    load = f"; load average {loads[0]:.2f} before, {loads[-1]:.2f} after" if loads else ""
    return f"{machine['processor']}, {machine['cores']} cores, {threads} per engine{load}"


def random_note(networks: list[dict]) -> str:
    """Return a line that names the networks with random weights; "" if there are none."""
    labels = [for_terminal(one["label"]) for one in networks if one["random_weights"]]
    return f"{', '.join(labels)}: no caffemodel given, random weights (seeded); use the times only" if labels else ""


def require_measured(report: dict) -> None:
    """Raise EngineError if no engine has run a network; the result says why each of them has not."""
    engines = report["engines"]
    if any(not entry["refused"] for engine in engines for entry in engine["networks"]):
        return
    why = [(engine["engine"], engine["absent"]) for engine in engines if engine["absent"]]
    why += [(engine["engine"], entry["refused"]) for engine in engines for entry in engine["networks"]]
    more = f" (and {len(why) - 1} more)" if len(why) > 1 else ""
    raise EngineError(f"no engine has run a network: {': '.join(why[0])}{more}")
