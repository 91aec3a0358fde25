"""Conversions to make pages of: a small trained network, and one whose names are an attack."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from deepmerge.formats.write.caffemodel import write_caffemodel
from deepmerge.out.read import read_converted
from deepmerge.page.layout import lay_out
from deepmerge.page.stages import stages
from tests.conversion import Job, convert
from tests.helpers import conv, inputs, layer, network, relu

EVIL = "</script><img src=x onerror=document.title='pwned'>"
QUOTE = "a'\\\"><svg onload=document.title='pwned'>"  # as a prototxt has it, with an escaped quote
TEMPLATE = "${data} $title {{x}} <!--"
BIDI = "over\u202eride"


def evil_text() -> str:
    """A network that merges, with names that would break out of HTML, of scripts, of attributes and of templates."""
    return (
        inputs((1, 3, 20, 14)).replace('"net"', f'"{EVIL}"')
        + conv(EVIL, "data", 6, "kernel_size: 3", "one")
        + relu("one", QUOTE)
        + layer(TEMPLATE, "LRN", "one", "local_size: 3", "two")
        + layer(BIDI, "Pooling", "two", "kernel_size: 2 stride: 2", "three")
        + layer("<b>fork</b>", "<i>Fork</i>", "three", "", "four").replace("}\n", 'odd_param { html: "<u>&amp;" } }\n')
        + conv("last", "three", 4, "kernel_h: 3 kernel_w: 2 stride_h: 2 stride_w: 1")
    )


@pytest.fixture(scope="session")
def evil(tmp_path_factory) -> Path:
    """OUT of that network."""
    folder = tmp_path_factory.mktemp("evil")
    write_caffemodel(network(folder, evil_text()), folder / "net.caffemodel")
    convert(Job(folder / "net.prototxt", folder / "net.caffemodel", folder / "out"))
    return folder / "out"


@pytest.fixture(scope="session")
def mini(models, tmp_path_factory) -> Path:
    """OUT of the trained network in models/."""
    out = tmp_path_factory.mktemp("mini") / "out"
    pair = (models / "inception_mini" / f"inception_mini.{kind}" for kind in ("prototxt", "caffemodel"))
    convert(Job(*pair, out))
    return out


@pytest.fixture(scope="session")
def recovered(mini, tmp_path_factory) -> Path:
    """OUT of the trained network with the report of a recovery, one of whose stages was undone."""
    out = Path(shutil.copytree(mini, tmp_path_factory.mktemp("recovered") / "out"))
    report = json.loads((out / "report.json").read_text())
    (out / "report.json").write_text(json.dumps(report | {"recovery": recovery_json()}))
    return out


@pytest.fixture(scope="session")
def mini_stages(mini):
    return stages(read_converted(mini))[0]


def spread(value, name: str = "median") -> dict:
    return {name: value, "low": value * 0.9, "high": value * 1.2, "count": 5}


def profile_json(labels=("before", "after"), seconds=(0.02, 0.005)) -> dict:
    """What `deepmerge profile --json` writes, in short."""
    entries = []
    for label, time in zip(labels, seconds, strict=True):
        layers = [
            {"name": name, "type": kind, "group": "conv1", "tensor": tensor, "seconds": spread(time * part)}
            for name, kind, tensor, part in (("conv1", "Convolution", True, 0.4), ("norm1", "LRN", False, 0.6))
        ]
        ratio = None if time == seconds[0] else spread(time / seconds[0], "value")
        entry = {"label": label, "refused": None, "forward": spread(time), "ratio": ratio, "sum": spread(time)}
        entries.append(entry | {"non_tensor": spread(0.6), "layers_refused": None, "layers": layers})
    machine = {"processor": "A processor", "cores": 2, "load": [0.25, 0.5, 1.0]}
    engines = [
        {"engine": "ort", "absent": None, "networks": entries},
        {"engine": "caffe", "absent": "no <b>Caffe</b>", "networks": []},
    ]
    networks = [{"label": one} for one in labels]
    found = {"version": 1, "machine": machine, "settings": {"threads": 1}}
    return found | {"networks": networks, "engines": engines}


def recovery_json() -> dict:
    """What `deepmerge recover` puts into report.json."""
    stages = [
        {"name": "lsq", "seconds": 84.0, "share": 0.7, "loss_before": 2.0, "loss_after": 0.5, "segments": []},
        {"name": "chain", "seconds": 10.0, "loss_before": 1.0, "loss_after": 0.9}
        | {"agreement_before": 0.5, "agreement_after": 0.75},
        {"name": "distill", "undone": True},
    ]
    return {"held_out": 30, "agreement_before": 0.25, "agreement_after": 0.75, "stages": stages}


def bench_json() -> dict:
    found = profile_json()
    for entry, peak in zip(found["engines"][0]["networks"], (50e6, 20e6), strict=True):
        for key in ("sum", "non_tensor", "layers", "layers_refused"):
            del entry[key]
        entry |= {"memory": {"peak": peak}, "energy": {"not_available": "no meter"}, "largest_batch": {"images": 16}}
    for entry, top in zip(found["networks"], (0.9, 0.8), strict=True):
        entry["accuracy"] = {"data": "folder:x", "images": 100, "top": {"1": top, "5": 0.99}}
    return found


def table_json(converted, timed: bool = True) -> dict:
    """What `deepmerge table --json` writes of a conversion."""
    rows = []
    for number, entry in enumerate([None, *converted.approximate]):
        name, index, top = None, 0, {"original": {"1": 0.9}}
        if entry is not None:
            name, index = entry["name"], entry["index"]
            top = {"merged": {"1": 0.9 - 0.1 * number}, "recovered": {"1": 0.9 - 0.01 * number}}
        seconds, speedup = (spread(0.01), {"value": 1 + 0.5 * number, "low": 1, "high": 9}) if timed else (None, None)
        row = {"step": name, "index": index, "merged": [], "passes": [], "top": top}
        rows.append(row | {"seconds": seconds, "speedup": speedup})
    columns = [{"title": "merged", "folder": "out"}, {"title": "recovered", "folder": "out2"}]
    found = {"data": "npz:test.npz", "images": 100, "engine": "ort", "time_engine": "ort", "threads": 1}
    return found | {"version": 1, "columns": columns, "rows": rows, "machine": profile_json()["machine"]}


@pytest.fixture
def saved(tmp_path):
    """Writes JSON to a file and returns where."""

    def save(name: str, value) -> Path:
        (tmp_path / name).write_text(json.dumps(value))
        return tmp_path / name

    return save


def boxes(sizes, edges, groups=None):
    return lay_out(sizes, edges, groups or ["x"] * len(sizes))
