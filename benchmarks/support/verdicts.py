"""The figures that conversion has to reach, beside the paper's and those that were measured."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

Row = tuple[str, str, str, str, str]


def verdicts(result: dict) -> list[Row]:
    """(claim, the paper's figure, ours, what is wanted, ok or FAILS) for each claim."""
    return [*_exact(result), *_speed(result), *_size(result), *_commands(result)]


def _exact(result: dict) -> Iterator[Row]:
    for name, versions in result["outputs"].items():
        for title in ("--exact", "inception_4a at full width"):
            if title in versions:
                yield _row(f"{name}, {title}: outputs apart", "", versions[title]["difference"], 1e-5, "at most", ".1e")
    onnx = {
        (n, t): row["onnx"] for n, versions in result["outputs"].items() for t, row in versions.items() if "onnx" in row
    }
    if onnx:
        name, title = worst = max(onnx, key=onnx.get)
        yield _row(
            f"ONNX against Caffe, worst of {len(onnx)} ({name}, {title})", "", onnx[worst], 1e-5, "at most", ".1e"
        )
    types = result["costs"]["resnet50"]["--exact"]["layer_types"]
    left = types.get("BatchNorm", 0) + types.get("Scale", 0)
    before = result["costs"]["resnet50"]["original"]["layer_types"]
    yield _row(
        f"resnet50, --exact: BatchNorm and Scale left of {before['BatchNorm']} + {before['Scale']}",
        "",
        left,
        0,
        "at most",
        "d",
    )


def _speed(result: dict) -> Iterator[Row]:
    if result["engine"] != "caffe":
        return
    middle = {n: {t: statistics.median(s) for t, s in versions.items()} for n, versions in result["seconds"].items()}
    google, res, alex = middle["googlenet"], middle["resnet50"], middle["alexnet"]
    fast = google["squeezenet"] / google["--tucker, fast"]
    yield _row("resnet50, --exact: times as fast", "", res["original"] / res["--exact"], 1.15, "at least", ".2f")
    yield _row(
        "googlenet, default: times as fast", "3.87", google["original"] / google["default"], 3.4, "at least", ".2f"
    )
    yield _row(
        f"googlenet, --tucker ({result['rank']}) on top",
        "1.56",
        google["default"] / google["--tucker"],
        1.3,
        "at least",
        ".2f",
    )
    yield _row(
        f"googlenet, --tucker ({result['fast_rank']}) against SqueezeNet 1.1", "1.16", fast, 1.0, "at least", ".2f"
    )
    yield _row(
        "alexnet, --absorb lrn: times as fast", "1.63", alex["original"] / alex["--absorb lrn"], 1.08, "at least", ".2f"
    )


def _size(result: dict) -> Iterator[Row]:
    before, after = (result["costs"]["googlenet"][title] for title in ("original", "default"))
    storage = after["storage_bytes"] / before["storage_bytes"]
    unique = after["activation_bytes"]["unique"] / before["activation_bytes"]["unique"]
    yield _row("googlenet, default: storage left", "0.890", storage, 0.89, "at most", ".3f")
    yield _row("googlenet, default: unique activation memory left", "0.398", unique, 0.40, "at most", ".3f")


def _commands(result: dict) -> Iterator[Row]:
    convert, help_ = (result["commands"][key] for key in ("convert GoogLeNet, all steps", "--help"))
    yield _row("convert GoogLeNet, all steps: seconds", "", convert["seconds"], 4, "at most", ".2f")
    yield _row("convert GoogLeNet, all steps: peak MB", "", convert["peak_mb"], 400, "at most", ".0f")
    yield _row("deepmerge --help: seconds", "", help_["seconds"], 0.25, "at most", ".2f")


def _row(claim: str, paper: str, ours: float, limit: float, sense: str, form: str) -> Row:
    good = ours <= limit if sense == "at most" else ours >= limit
    return claim, paper, format(ours, form), f"{sense} {limit:g}", "ok" if good else "FAILS"
