"""Measure how the time of a plan, a conversion and a look grows with the number of layers.

    python benchmarks/scale.py [--most 8000] [--rounds 3] [--json FILE]

Chains of Convolution, BatchNorm, Scale and ReLU of 250, 500, 1,000 … layers go through `deepmerge plan`,
`convert --exact` (with weights) and `inspect`; nine GoogLeNets side by side, added up at the end, go through `plan`.
The figures are the seconds of the processor, the fewest of all rounds, so that other work on the machine counts little.
Exit code 1 if the time grows more than 1.2 times as fast as the layers, or the GoogLeNets take more than 2 s.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage

import numpy as np
from support.machine import machine

from deepmerge.cli.output import table
from deepmerge.formats.read import read_network
from deepmerge.formats.write import write_pair
from deepmerge.graph import Blob, Graph, Layer
from deepmerge.graph import params as typed

FIRST, GROWTH, SECONDS = 250, 1.2, 2.0  # layers of the shortest chain, and the limits
_GOOGLENET = Path(__file__).parents[1] / "models" / "googlenet" / "deploy.prototxt"


def main() -> int:
    """Measure, print each table, and return 1 if a limit is missed."""
    args = _arguments()
    sizes = [FIRST << power for power in range(20) if FIRST << power <= args.most]
    with tempfile.TemporaryDirectory(prefix="deepmerge-scale-") as folder:
        here = Path(folder)
        chains = {size: _chain(size, here) for size in sizes}
        beside = _write(_googlenets(9), here / "googlenets")
        found = {name: [_seconds(command(*chains[size]), args.rounds) for size in sizes] for name, command in _COMMANDS}
        result = {"layers": sizes, **found, "googlenets": _seconds(["plan", beside[0]], args.rounds)}
        count = len(read_network(beside[0]).layers)
    result["machine"] = machine()
    _show("machine", list(result["machine"].items()))
    _show("seconds of the processor", _rows(result), ("", *(f"{size:,}" for size in sizes)), "l" + "r" * len(sizes))
    judged = _verdicts(result, count)
    _show("verdicts", judged, ("", "here", "wanted", ""), "lrrl")
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0 if all(row[-1] == "ok" for row in judged) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--most", type=int, default=8000, help="layers of the longest chain")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures there too")
    return parser.parse_args()


_COMMANDS = (
    ("plan", lambda prototxt, caffemodel: ["plan", prototxt]),
    (
        "convert --exact",
        lambda prototxt, caffemodel: ["convert", prototxt, caffemodel, "--exact", "-o", prototxt.parent / "out"],
    ),
    ("inspect", lambda prototxt, caffemodel: ["inspect", prototxt]),
)


def _chain(layers: int, folder: Path) -> tuple[Path, Path]:
    """Write a chain of that many layers, with weights."""
    graph, rng = Graph("chain"), np.random.default_rng(1)
    blob = graph.insert(Layer("data", "Input", typed.Input(shape=((1, 4, 8, 8),)), [], [Blob("data")])).top
    conv = typed.Convolution(num_output=4, kernel_h=3, kernel_w=3, pad_h=1, pad_w=1)
    channels = rng.random((4, 4), np.float32) + 0.5
    for number in range(layers // 4):
        weights = {
            ("Convolution", conv): [rng.random((4, 4, 3, 3), np.float32) - 0.5, channels[0]],
            ("BatchNorm", typed.BatchNorm()): [channels[1], channels[2], np.ones(1, np.float32)],
            ("Scale", typed.Scale(bias_term=True)): [channels[1], channels[3]],
            ("ReLU", typed.ReLU()): [],
        }
        for (kind, params), arrays in weights.items():
            name = f"{kind.lower()}{number}"
            top = Blob(name if kind == "Convolution" else blob.name)
            blob = graph.insert(Layer(name, kind, params, [blob], [top], arrays)).top
    return _write(graph, folder / f"chain{layers}")


def _googlenets(count: int) -> Graph:
    """Return GoogLeNets that read one input, and a sum of their outputs."""
    graph = Graph("side by side")
    outputs = []
    for number in range(count):
        one = read_network(_GOOGLENET)
        (source,) = [layer for layer in one.layers if layer.type == "Input"]
        body = [layer for layer in one.layers if layer is not source]
        for layer in body:
            layer.name = f"{number}/{layer.name}"
            for top in layer.tops:
                top.name, top.consumers = f"{number}/{top.name}", []
        if not graph.layers:
            source.top.consumers = []
            data = graph.insert(source).top
        for layer in body:
            layer.bottoms = [data if bottom is source.top else bottom for bottom in layer.bottoms]
            graph.insert(layer)
        outputs.append(body[-1].top)
    graph.insert(Layer("gate", "Eltwise", typed.Eltwise(), outputs, [Blob("gate")]))
    return graph


def _write(graph: Graph, stem: Path) -> tuple[Path, Path]:
    pair = stem.with_suffix(".prototxt"), stem.with_suffix(".caffemodel")
    write_pair(graph, *pair)
    return pair


def _seconds(arguments: list, rounds: int) -> float:
    """Return the fewest seconds of the processor that `deepmerge` with these arguments takes."""
    found = []
    for _ in range(rounds):
        shutil.rmtree(Path(arguments[1]).parent / "out", ignore_errors=True)
        before = getrusage(RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, "-m", "deepmerge", *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        after = getrusage(RUSAGE_CHILDREN)
        found.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(found)


def _rows(result: dict) -> list[tuple]:
    return [(name, *(f"{seconds:.2f}" for seconds in result[name])) for name, _ in _COMMANDS]


def _verdicts(result: dict, count: int) -> list[tuple]:
    """Compare the growth of the time with the layers', from each chain to the next, and from the first to the last."""
    rows = []
    for name, _ in _COMMANDS:
        chains = list(zip(result["layers"], result[name], strict=True))
        growth = [(b[1] / a[1]) / (b[0] / a[0]) for a, b in (*pairwise(chains), (chains[0], chains[-1]))]
        rows.append((f"{name}: growth of the time, as a share of the layers'", max(growth), GROWTH))
    rows.append((f"plan, {count:,} layers of GoogLeNets, seconds", result["googlenets"], SECONDS))
    return [
        (what, f"{here:.2f}", f"at most {wanted}", "ok" if here <= wanted else "MISSED") for what, here, wanted in rows
    ]


def _show(title: str, rows: list, head=(), right: str = "") -> None:
    print(f"\n{title}\n\n{table(rows, head, right)}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
