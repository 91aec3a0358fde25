"""Measure the paper's seven tables and write them into RESULTS.md. `make tables` runs this.

    python benchmarks/tables.py --zoo DIR --data npz:cifar10_test.npz --recovered DIR

See README.md beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from support import sections
from support.machine import machine
from support.measured import ROOT, Measured

KEEP, RESULTS = ROOT / "benchmarks" / "measured", ROOT / "benchmarks" / "RESULTS.md"
BEGIN, END = "<!-- begin: written by `make tables` -->", "<!-- end: written by `make tables` -->"
# the paper's steps of GoogLeNet; networks without them take all steps
STEPS = "conv1,conv2,inception_3a,inception_3b,inception_4a,inception_4b-4d,inception_4e,inception_5a,inception_5b"
IMAGENET = {"AlexNet": "alexnet", "GoogLeNet": "googlenet", "ResNet-50": "resnet50", "ResNet-152": "resnet152"}
SELF_CHECKS = 5


@dataclass(frozen=True)
class Inputs:
    """The networks by name, and how they are measured."""

    zoo: dict[str, tuple[Path, Path]]
    data: list[str]  # --data SPEC --limit N, or nothing
    recovered: Path | None
    engines: str
    seconds: float
    memory: str
    figure: Path

    @property
    def main(self) -> str:
        """The network of Tables 2 to 5: GoogLeNet, or the small one that the project has."""
        return "googlenet" if "googlenet" in self.zoo else "inception_mini"

    @property
    def timing(self) -> list[str]:
        """Options that all timed commands get."""
        return ["--engine", self.engines, "--seconds", f"{self.seconds:g}", "--json"]


def main() -> int:
    """Measure the tables and write them into RESULTS.md; return 1 if a command failed."""
    args = arguments()
    data = ["--data", args.data, "--limit", str(args.limit)] if args.data else []
    figure = args.results.with_name("figure1.png")
    inputs = Inputs(find_zoo(args.zoo), data, args.recovered, args.engine, args.seconds, args.memory, figure)
    named = {
        "$DATA": args.data,
        "$ZOO": args.zoo and str(args.zoo),
        "$RECOVERED": args.recovered and str(args.recovered),
    }
    measured = Measured(args.keep, {path: name for name, path in named.items() if path})
    start, about = time.perf_counter(), machine()
    parts = [make(measured, inputs) for number, make in TABLES.items() if number in args.tables]
    text = "\n\n".join(
        [sections.preface(about, inputs, os.getloadavg()[0]), *parts, sections.conversions(measured.conversions)]
    )
    write(args.results, measured.shortened(text))
    print(f"{args.results}: written after {(time.perf_counter() - start) / 60:.1f} minutes", file=sys.stderr)
    for name, found in measured.failed.items():
        print(f"{name}: not measured: {found['error']}", file=sys.stderr)
    return int(bool(measured.failed))


def arguments() -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    folder = lambda text: Path(text).resolve()  # noqa: E731 (commands run in the repository)
    parser.add_argument("--zoo", type=folder, metavar="DIR", help="trained networks: NAME.prototxt and NAME.caffemodel")
    parser.add_argument("--data", metavar="SPEC", help="labelled test images, for accuracy")
    parser.add_argument(
        "--limit", type=int, default=500, metavar="N", help="use at most N of them (default %(default)s)"
    )
    parser.add_argument("--recovered", type=folder, metavar="DIR", help="recovered conversions: see README.md")
    parser.add_argument("--engine", default="caffe,torch,ort,ort-lrn-op", metavar="LIST", help="default %(default)s")
    parser.add_argument(
        "--seconds", type=float, default=8, metavar="S", help="time limit for one engine (default %(default)s)"
    )
    parser.add_argument(
        "--memory", default="1GB", metavar="LIMIT", help="memory limit for the largest batch (default %(default)s)"
    )
    parser.add_argument(
        "--tables", type=lambda text: text.split(","), default=list(TABLES), metavar="LIST", help=",".join(TABLES)
    )
    parser.add_argument(
        "--keep", type=folder, default=KEEP, metavar="DIR", help="where measurements are kept; delete it to start again"
    )
    parser.add_argument("--results", type=folder, default=RESULTS, metavar="FILE")
    return parser.parse_args()


def find_zoo(folder: Path | None) -> dict[str, tuple[Path, Path]]:
    """Return the trained networks by name: those of the folder, and inception_mini."""
    mini = ROOT / "models" / "inception_mini"
    found = {"inception_mini": (mini / "inception_mini.prototxt", mini / "inception_mini.caffemodel")}
    if folder:
        pairs = [(path, path.with_suffix(".caffemodel")) for path in sorted(folder.glob("*.prototxt"))]
        found |= {path.stem: (path, weights) for path, weights in pairs if weights.exists()}
        if len(found) == 1 and not pairs:
            raise SystemExit(f"{folder}: holds no NAME.prototxt with NAME.caffemodel beside it")
    return found


def write(results: Path, text: str) -> None:
    """Write the part of the file between the marks; what is outside is kept."""
    old = results.read_text() if results.exists() else "# Results\n"
    before, begin, rest = old.partition(BEGIN)
    after = rest.partition(END)[2] if begin else ""
    results.write_text(
        f"{before.rstrip()}\n\n{BEGIN}\n\n{text.strip()}\n\n{END}\n" + (f"\n{after.lstrip()}" if after.strip() else "")
    )


def convert(measured: Measured, inputs: Inputs, network: str, name: str, *options: str) -> Path:
    """Convert a network; return its folder."""
    out = measured.folder / f"{network}{name}"
    words = ["convert", *inputs.zoo[network], *options, "-o", out, "--force", "--json"]
    found = measured.run(f"convert {out.name}", words, [out])
    if found not in measured.conversions:
        measured.conversions.append(found)
    return out


def versions(measured: Measured, inputs: Inputs) -> dict[str, list[object]]:
    """Return, by label, the arguments that name a network: the original, its three conversions, the rival."""
    net = inputs.main
    steps = ["--steps", STEPS] if net == "googlenet" else []
    made = {"Tucker": ("--absorb", "", "--tucker"), "Merge": tuple(steps), "Merge-Tucker": (*steps, "--tucker")}
    label = sections.titled(net)
    found: dict[str, list[object]] = {label: [f"{label}={inputs.zoo[net][0]}", inputs.zoo[net][1]]}
    for name, options in made.items():
        out = convert(measured, inputs, net, f"-{name.lower()}", *options)
        found[name] = [f"{name}={out}"]
    if "squeezenet" in inputs.zoo:
        found["SqueezeNet"] = [f"SqueezeNet={inputs.zoo['squeezenet'][0]}", inputs.zoo["squeezenet"][1]]
    return found


def words(networks: dict[str, list[object]], but: str = "") -> list[object]:
    """Return the arguments that name the networks."""
    return [word for label, named in networks.items() if label != but for word in named]


def table1(measured: Measured, inputs: Inputs) -> str:
    """Measure Table 1."""
    networks = [f"{label}={ROOT / 'models' / folder / 'deploy.prototxt'}" for label, folder in IMAGENET.items()]
    chart = ["--chart", inputs.figure]
    found = measured.run("table 1", ["profile", *networks, "--by", "type", *chart, *inputs.timing], [inputs.figure])
    return sections.table1(found, inputs.figure)


def table2(measured: Measured, inputs: Inputs) -> str:
    """Measure Table 2."""
    rows, tucker = step_rows(
        measured, inputs, inputs.main, "-merge", ["--steps", STEPS] if inputs.main == "googlenet" else []
    )
    if tucker is None and inputs.data:
        versions(measured, inputs)
        out = measured.folder / f"{inputs.main}-merge-tucker"
        tucker = measured.run("table 2 tucker", ["eval", out, *inputs.data, "--json"])
    return sections.table2(rows, tucker, sections.titled(inputs.main))


def step_rows(
    measured: Measured, inputs: Inputs, network: str, name: str, options: list[str]
) -> tuple[dict, dict | None]:
    """Measure a conversion step by step; return that, and what benchmarks/accuracy.py found for Tucker.

    If accuracy.py left an accuracy.json, it is used.
    """
    place = inputs.recovered / network if inputs.recovered else None
    if place and (place / "accuracy.json").exists():
        return sections.from_accuracy(place / "accuracy.json", measured)
    columns: list[object] = []
    if place and place.is_dir():
        folders = [place, *(place / n for n in ("recovered", "finetuned", "xavier_finetuned"))]
        columns = [f"{f.name if f != place else 'recovered'}={f}" for f in folders if (f / "report.json").exists()]
    if place and (place / "merged" / "report.json").exists():
        first = place / "merged"
    else:
        first = convert(measured, inputs, network, name, *options)
    engine = inputs.engines.split(",")[0]
    timing = ["--time-engine", engine, "--seconds", f"{2 * inputs.seconds:g}", "--json"]
    original = ["--original", *inputs.zoo[network]]
    return measured.run(
        f"steps of {network}", ["table", f"merged={first}", *columns, *inputs.data, *original, *timing]
    ), None


def table3(measured: Measured, inputs: Inputs) -> str:
    """Measure Table 3."""
    return sections.table3(breakdown(measured, inputs))


def breakdown(measured: Measured, inputs: Inputs) -> dict:
    """Measure where the time goes, for Tables 3 and 4."""
    return measured.run("table 3", ["profile", *words(versions(measured, inputs), but="SqueezeNet"), *inputs.timing])


def table4(measured: Measured, inputs: Inputs) -> str:
    """Measure Table 4."""
    return sections.table4(side_by_side(measured, inputs), breakdown(measured, inputs))


def side_by_side(measured: Measured, inputs: Inputs) -> dict:
    """Measure networks side by side, for Tables 4 and 5."""
    return measured.run("tables 4 and 5", ["bench", *words(versions(measured, inputs)), *inputs.timing])


def table5(measured: Measured, inputs: Inputs) -> str:
    """Measure Table 5."""
    engine = inputs.engines.split(",")[0]
    # `--measure memory` takes least time; --memory starts the search
    search = ["--engine", engine, "--measure", "memory", "--memory", inputs.memory, "--json"]
    batches = measured.run("table 5 batches", ["bench", *words(versions(measured, inputs)), *search])
    return sections.table5(side_by_side(measured, inputs), batches, inputs.memory)


def table6(measured: Measured, inputs: Inputs) -> str:
    """Measure Table 6."""
    if "alexnet" not in inputs.zoo:
        return sections.missing(6, "AlexNet, step by step", "alexnet")
    options = ["--absorb", "lrn", "--step-weights"]
    rows, _ = step_rows(measured, inputs, "alexnet", "-lrn", options)
    out = convert(measured, inputs, "alexnet", "-lrn", *options)
    pair = inputs.zoo["alexnet"]
    named = [f"original={pair[0]}", pair[1], *(f"{f.name[3:]}={f}" for f in sorted((out / "steps").glob("*")))]
    return sections.table6(rows, measured.run("table 6", ["bench", *named, *inputs.timing]))


def table7(measured: Measured, inputs: Inputs) -> str:
    """Measure Table 7."""
    if "resnet50" not in inputs.zoo:
        return sections.missing(7, "ResNet, conv1 to res2a", "resnet50")
    pair = inputs.zoo["resnet50"]
    made = {
        name: convert(measured, inputs, "resnet50", f"-{name}", *options) for name, options in sections.RESNETS.items()
    }
    report = made["exact"] / "report.json"
    steps = json.loads(report.read_text())["steps"] if report.exists() else []
    rest = ",".join(layer for step in steps if step["name"] not in sections.RES2A for layer in step["merged"])
    for name, options in {"conv1-res2a exact": ["--exact"], "conv1-res2a merge": []}.items() if rest else ():
        made[name] = convert(measured, inputs, "resnet50", f"-{name.replace(' ', '-')}", *options, "--keep", rest)
    named = [
        f"original={pair[0]}",
        pair[1],
        *(f"{name}={made[name]}" for name in sorted(made, key=lambda name: (" " not in name, name))),
    ]
    found = measured.run("table 7", ["bench", *named, *inputs.data, "--measure", "time", *inputs.timing])
    recovered = None
    if inputs.recovered and (inputs.recovered / "resnet50").is_dir():
        recovered, _ = step_rows(measured, inputs, "resnet50", "-merge", [])
    return sections.table7(found, recovered)


def self_check(measured: Measured, inputs: Inputs) -> str:
    """Measure a network against itself."""
    prototxt, caffemodel = inputs.zoo[inputs.main]
    timing = [
        "--engine",
        inputs.engines.split(",")[0],
        "--measure",
        "time",
        "--seconds",
        f"{inputs.seconds:g}",
        "--json",
    ]
    same = ["bench", f"once={prototxt}", caffemodel, f"again={prototxt}", caffemodel, *timing]
    found = [measured.run(f"self-check {i}", [*same, "--seed", i]) for i in range(1, SELF_CHECKS + 1)]
    return sections.self_check(found, sections.titled(inputs.main))


def opens(measured: Measured, inputs: Inputs) -> str:
    """Measure which engines take the converted networks."""
    named: list[object] = []
    for network in inputs.zoo:
        out = convert(measured, inputs, network, "-default")
        tucker = convert(measured, inputs, network, "-default-tucker", "--tucker")
        named += [f"{network}={out}", f"{network}, --tucker={tucker}"]
    return sections.opens(measured.run("opens", ["benchmarks/opens.py", *named], script=True))


TABLES = {
    "1": table1,
    "2": table2,
    "3": table3,
    "4": table4,
    "5": table5,
    "6": table6,
    "7": table7,
    "self": self_check,
    "opens": opens,
}

if __name__ == "__main__":
    raise SystemExit(main())
