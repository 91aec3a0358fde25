"""Measure `deepmerge zoo`: what it costs beside the conversions, what a second worker brings, what grows how.

    python benchmarks/zoo.py [--models 1000] [--tiny 10000] [--work DIR] [--json FILE]

The zoo has networks of models/ with random weights: inception_mini and SqueezeNet, each with weights of its own, and
some GoogLeNets and ResNet-50s. Seven more are broken in five ways, eat memory, or hang. It is converted with one worker
and with two, and once more when there is nothing to do. What convert itself takes is measured in one process that has
everything loaded. The tiny zoo has a network of five layers many times. Exit code 1 if a figure is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from support.machine import machine

from deepmerge.cli.output import table
from deepmerge.cli.zoo_options import run_convert
from deepmerge.formats.read import read_network
from deepmerge.formats.write import write_pair
from deepmerge.measure.harness.fill import fill

MODELS = Path(__file__).parents[1] / "models"
MINI, SQUEEZE = MODELS / "inception_mini/inception_mini.prototxt", MODELS / "squeezenet_v1.1/deploy.prototxt"
LARGE = {"googlenet": 30, "resnet50": 5}  # of 1,000
SQUEEZES = 100  # of 1,000
OVERHEAD, TWO, NOTHING, GROWTH = 0.15, 0.55, 2.0, 1.2  # the limits
SAMPLE = 50  # models that convert itself is measured on
HEAD = "version = 1\n\n[defaults]\nexact = true\nlimits.seconds = 60\n"
TINY = """name: "tiny"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 4 kernel_size: 3 } }
layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "bn" }
layer { name: "relu" type: "ReLU" bottom: "bn" top: "bn" }
layer { name: "fc" type: "InnerProduct" bottom: "bn" top: "fc" inner_product_param { num_output: 5 } }
"""
HUNGRY = """name: "hungry"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 8192 dim: 1 dim: 1 } } }
layer { name: "c" type: "Convolution" bottom: "data" top: "c" convolution_param { num_output: 8192 kernel_size: 1 } }
layer { name: "bn" type: "BatchNorm" bottom: "c" top: "bn" }
"""


def main() -> int:
    """Make the zoos, measure, print each table, and return 1 if a figure is missed."""
    args = _arguments()
    result: dict = {"machine": machine(), "models": args.models, "tiny": args.tiny}
    _show("machine", list(result["machine"].items()))
    judged = []
    with tempfile.TemporaryDirectory(prefix="zoo-", dir=args.work) as folder:
        if args.models:
            result["zoo"] = measure_zoo(Path(folder, "zoo"), args.models)
            judged += _figures(f"a zoo of {args.models:,} models", _zoo_rows(result["zoo"]))
        if args.tiny:
            sizes = args.tiny // 10, args.tiny
            result["growth"] = [measure_tiny(Path(folder, f"tiny{size}"), size) for size in sizes]
            judged += _figures("zoos of tiny models", _tiny_rows(*result["growth"]))
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0 if all(row[-1] in ("", "ok") for row in judged) else 1


def _figures(title: str, rows: list[tuple]) -> list[tuple]:
    _show(title, rows, ("", "here", "wanted", ""), "lrrl")
    return rows


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=1000, help="models of the zoo; 0 leaves it out")
    parser.add_argument("--tiny", type=int, default=10000, help="models of the tiny zoo; 0 leaves it out")
    parser.add_argument("--work", type=Path, help="where the zoos are made, about 8 GB for 1,000 models")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    return parser.parse_args()


# -- the zoos --------------------------------------------------------------------------------------


def make_zoo(folder: Path, count: int) -> list[Path]:
    """Write a zoo of `count` models, the seven bad ones among them, and return the manifest and the good prototxts."""
    good = folder / "good"
    good.mkdir(parents=True)
    squeezes = count * SQUEEZES // 1000
    larges = {name: max(1, count * share // 1000) for name, share in LARGE.items()}
    minis = count - squeezes - sum(larges.values()) - 7
    for seed in range(minis):
        _write(MINI, good / f"mini{seed:04}", seed)
    for seed in range(squeezes):
        _write(SQUEEZE, good / f"squeeze{seed:04}", seed)
    for name, number in larges.items():
        _write(MODELS / name / "deploy.prototxt", good / f"{name}0000", 0)
        for copy in range(1, number):
            _link(good / f"{name}0000", good / f"{name}{copy:04}")
    _write_bad(folder / "bad", good / "mini0000")
    limits = 'name = "hungry"\nprototxt = "bad/hungry.prototxt"\nlimits.gigabytes = 0.3\n'
    models = ['prototxt = "good/*.prototxt"\n', 'name = "broken-*"\nprototxt = "bad/*_.prototxt"\n', limits]
    models.append(
        'name = "hangs"\nprototxt = "bad/hangs.prototxt"\ncaffemodel = "good/mini0000.caffemodel"\nlimits.seconds = 5\n'
    )
    (folder / "zoo.toml").write_text(HEAD + "".join(f"\n[[model]]\n{model}" for model in models))
    return sorted(good.glob("*.prototxt"))


def _write(definition: Path, stem: Path, seed: int) -> None:
    graph = read_network(definition)
    graph.train_layers = []
    fill(graph, seed)
    write_pair(graph, stem.with_suffix(".prototxt"), stem.with_suffix(".caffemodel"))


def _link(one: Path, other: Path) -> None:
    for suffix in (".prototxt", ".caffemodel"):
        os.link(one.with_suffix(suffix), other.with_suffix(suffix))


def _write_bad(folder: Path, good: Path) -> None:
    """Write five broken models, one that eats memory and one that hangs: its prototxt is a pipe without a writer."""
    folder.mkdir()
    prototxt, weights = good.with_suffix(".prototxt").read_text(), good.with_suffix(".caffemodel").read_bytes()
    broken = {
        "text_": (prototxt, b"no network"),
        "cut_": (prototxt, weights[: len(weights) // 2]),
        "syntax_": (prototxt.replace("}", "", 1), weights),
        "missing_": (prototxt, None),
        "other_": (TINY, weights),
    }
    for name, (text, data) in broken.items():
        (folder / f"{name}.prototxt").write_text(text)
        if data is not None:
            (folder / f"{name}.caffemodel").write_bytes(data)
    (folder / "source.prototxt").write_text(HUNGRY)
    _write(folder / "source.prototxt", folder / "hungry", 0)
    os.mkfifo(folder / "hangs.prototxt")


# -- measuring -------------------------------------------------------------------------------------


def measure_zoo(folder: Path, count: int) -> dict:
    """Return the figures of a zoo: runs with one worker and with two, one with nothing to do, and convert itself."""
    good = make_zoo(folder, count)
    one = _run(folder, "one", 1)
    alone = _convert_itself(folder, good)
    shutil.rmtree(folder / "one")
    two, again = _run(folder, "two", 2), _run(folder, "two", 2)
    entries = [json.loads(line) for line in (folder / "two/index.jsonl").read_text().splitlines()]
    states = Counter(entry["status"] for entry in entries)
    failures = {entry["name"]: entry["failure"]["message"] for entry in entries if "failure" in entry}
    return {
        "count": len(entries),
        "states": states,
        "failures": failures,
        "one": one,
        "two": two,
        "again": again,
        **alone,
    }


def _convert_itself(folder: Path, good: list[Path]) -> dict:
    """Return the seconds of convert in this process, once all is loaded, and of the zoo's processes."""
    kinds: dict[str, list[Path]] = {}
    for path in good:
        kinds.setdefault(path.stem[:-4], []).append(path)
    seconds, zoos = 0.0, 0.0
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        for number, sample in enumerate([kinds[next(iter(kinds))][:1], *(paths[:SAMPLE] for paths in kinds.values())]):
            begun = time.perf_counter()
            for path in sample:
                with open(os.devnull, "w") as null, contextlib.redirect_stdout(null), contextlib.redirect_stderr(null):
                    pair = [str(path), str(path.with_suffix(".caffemodel"))]
                    run_convert(["--exact", "--report", "-o", f"{scratch}/{number}-{path.stem}", *pair])
                shutil.rmtree(f"{scratch}/{number}-{path.stem}")
            if number:
                kind = sample[0].stem[:-4]
                seconds += (time.perf_counter() - begun) / len(sample) * len(kinds[kind])
                records = [json.loads((folder / "one" / path.stem / "run.json").read_text()) for path in kinds[kind]]
                zoos += sum(record["seconds"] for record in records)
    return {"convert_itself": seconds, "in_the_processes": zoos, "good": len(good)}


def measure_tiny(folder: Path, count: int) -> dict:
    """Return the figures of a zoo of tiny models: a first run and one with nothing to do."""
    models = folder / "models"
    models.mkdir(parents=True)
    (folder / "tiny.prototxt").write_text(TINY)
    _write(folder / "tiny.prototxt", models / "m00000", 0)
    for number in range(1, count):
        _link(models / "m00000", models / f"m{number:05}")
    (folder / "zoo.toml").write_text(HEAD + 'report = false\n\n[[model]]\nprototxt = "models/*.prototxt"\n')
    found = {"count": count, "first": _run(folder, "out", 2), "again": _run(folder, "out", 2)}
    found["index_bytes"] = (folder / "out/index.jsonl").stat().st_size
    found["page_bytes"] = (folder / "out/index.html").stat().st_size
    shutil.rmtree(folder)
    return found


def _run(folder: Path, out: str, workers: int) -> dict:
    """Run the command as a user does; return its wall clock, and the most memory that its own process had."""
    words = [sys.executable, "-m", "deepmerge", "zoo", "zoo.toml", "-o", out, "-j", str(workers)]
    begun = time.perf_counter()
    process = subprocess.Popen(words, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    most = 0
    while process.poll() is None:
        with contextlib.suppress(OSError, ValueError, IndexError):  # it has just ended
            most = int(Path(f"/proc/{process.pid}/status").read_text().partition("VmHWM:")[2].split()[0])
        time.sleep(0.02)
    return {"seconds": time.perf_counter() - begun, "bytes": most * 1024, "code": process.returncode}


# -- tables ----------------------------------------------------------------------------------------


def _zoo_rows(found: dict) -> list[tuple]:
    count, one, two = found["count"], found["one"]["seconds"], found["two"]["seconds"]
    hang = 5.0
    overhead = (one - hang - found["convert_itself"]) / count
    expected = {"converted": count - 7, "failed": 7}
    rows = [
        (
            "models converted, and failed",
            f"{dict(found['states'])}",
            f"{expected}",
            _ok(dict(found["states"]) == expected),
        ),
        ("one worker, seconds", f"{one:.1f}", "", ""),
        ("of which convert itself", f"{found['convert_itself']:.1f}", "", ""),
        ("overhead for each model, seconds", *_most(overhead, OVERHEAD, 3)),
        ("two workers, seconds", f"{two:.1f}", "", ""),
        ("two workers, as a share of one's time", *_most(two / one, TWO, 2)),
        (
            f"nothing to do, {count:,} models, seconds",
            *_most(found["again"]["seconds"], NOTHING * max(1, count / 1000), 2),
        ),
        ("memory of the main process", f"{found['two']['bytes'] / 1e6:.0f} MB", "", ""),
    ]
    return rows + [(f"failure of {name}", message[:60], "", "") for name, message in sorted(found["failures"].items())]


def _tiny_rows(small: dict, large: dict) -> list[tuple]:
    rows = []
    for key, what in (("first", "a run"), ("again", "a run with nothing to do")):
        each = [run[key]["seconds"] / run["count"] * 1000 for run in (small, large)]
        for run, value in zip((small, large), each, strict=True):
            rows.append((f"{run['count']:,} tiny models: {what}, ms for each", f"{value:.1f}", "", ""))
        rows.append((f"{what}: growth of the time, as a share of the models'", *_most(each[1] / each[0], GROWTH, 2)))
    for run in (small, large):
        rows.append(
            (
                f"{run['count']:,} tiny models: memory of the main process",
                f"{run['first']['bytes'] / 1e6:.0f} MB",
                "",
                "",
            )
        )
        rows.append(
            (
                f"{run['count']:,} tiny models: index.jsonl, index.html",
                f"{run['index_bytes'] / 1e6:.1f}, {run['page_bytes'] / 1e6:.1f} MB",
                "",
                "",
            )
        )
    more = (large["first"]["bytes"] - small["first"]["bytes"]) / (large["count"] - small["count"])
    rows.append(("memory of the main process, kB for each model more", *_most(more / 1e3, 10.0, 1)))
    return rows


def _most(here: float, wanted: float, digits: int) -> tuple[str, str, str]:
    return f"{here:.{digits}f}", f"at most {wanted}", _ok(here <= wanted)


def _ok(good: bool) -> str:
    return "ok" if good else "MISSED"


def _show(title: str, rows: list, head=(), right: str = "") -> None:
    print(f"\n{title}\n\n{table(rows, head, right)}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
