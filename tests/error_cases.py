"""One command line for each family of errors, run in a folder of small files; docs/errors.md shows what they print."""

from __future__ import annotations

import contextlib
import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deepmerge.errors import (
    DeepmergeError,
    EmitError,
    EngineError,
    GraphError,
    PassError,
    PlanError,
    ReadError,
    ShapeError,
    SourceError,
    TrainingError,
)
from deepmerge.formats.write.caffemodel import write_caffemodel

NET = """name: "net"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 16 dim: 16 } } }
layer {
  name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 4 kernel_size: 3 }
}
layer { name: "norm1" type: "LRN" bottom: "conv1" top: "norm1" }
layer { name: "fc" type: "InnerProduct" bottom: "norm1" top: "fc" inner_product_param { num_output: 2 } }
"""
RECIPE = 'version = 1\nnetwork = "net"\n[[step]]\nname = "conv1"\npasses = ["merge_lrn"]\nlayers = ["norm1"]\n'
TRAIN = """layer { name: "data" type: "Data" top: "data" top: "label" }
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param { num_output: 2 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
"""


@dataclass(frozen=True)
class Case:
    """What is raised by `deepmerge COMMAND`, after a change to the files."""

    error: type[DeepmergeError]
    command: str
    change: Callable[[Path], object] = lambda folder: None


def lay_out(folder: Path) -> None:
    """net.prototxt and net.caffemodel, its weights."""
    from tests.helpers import network

    graph = network(folder, NET)
    write_caffemodel(graph, folder / "net.caffemodel")


def text(old: str, new: str) -> Callable[[Path], object]:
    """net.prototxt with something else in place of `old`."""
    assert NET.count(old) == 1, old
    return lambda folder: (folder / "net.prototxt").write_text(NET.replace(old, new))


def file(name: str, content: str | bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)


def cut(folder: Path) -> None:
    path = folder / "net.caffemodel"
    path.write_bytes(path.read_bytes()[:300])


def other_weights(folder: Path) -> None:
    """A caffemodel of the same network with one channel more in conv1."""
    text = (folder / "net.prototxt").read_text()
    (folder / "other").mkdir()
    from tests.helpers import network

    write_caffemodel(
        network(folder / "other", text.replace("num_output: 4", "num_output: 5")), folder / "net.caffemodel"
    )


def renamed_weights(folder: Path) -> None:
    (folder / "net.prototxt").write_text(NET.replace('"fc"', '"fc8"'))


def baseline(folder: Path) -> None:
    """What bench wrote when the second network took half of the first one's multiply-adds."""
    sizes = {"params": 10, "storage_bytes": 40, "activation_bytes": {"caffe": 1, "unique": 1, "planned": 1}}
    networks = [{"label": "a", "macs": 10, **sizes}, {"label": "b", "macs": 5, **sizes}]
    (folder / "a.json").write_text(json.dumps({"version": 1, "networks": networks, "engines": []}))


def twice(folder: Path) -> None:
    path = folder / "net.caffemodel"
    data = path.read_bytes()
    path.write_bytes(data + data)


def huge_claim(folder: Path) -> None:
    from deepmerge.formats.write.wire import block, prefix, varint

    blob = block(7, block(1, varint(10**12))) + prefix(5, 4 * 10**12)
    (folder / "net.caffemodel").write_bytes(block(100, block(1, b"conv1") + block(7, blob)))


def not_a_number(folder: Path) -> None:
    from deepmerge.formats.read import read_network

    graph = read_network(folder / "net.prototxt", folder / "net.caffemodel")
    graph.layers[1].weights[0] = np.full_like(graph.layers[1].weights[0], np.nan)
    write_caffemodel(graph, folder / "nan.caffemodel")


def others(folder: Path) -> None:
    """other.caffemodel: half of fc's weights."""
    from deepmerge.formats.read import read_network

    graph = read_network(folder / "net.prototxt", folder / "net.caffemodel")
    graph.layers[-1].weights[0] = graph.layers[-1].weights[0] / 2
    write_caffemodel(graph, folder / "other.caffemodel")


def exists(folder: Path) -> None:
    (folder / "out").mkdir()
    (folder / "out" / "thesis.tex").write_text("mine")


def photos(*labels: int) -> Callable[[Path], object]:
    """photos.npz: an image for each label, three without any."""
    arrays = {
        "images": np.zeros((len(labels) or 3, 16, 16, 3), np.uint8),
        **({"labels": np.array(labels)} if labels else {}),
    }
    return lambda folder: np.savez(folder / "photos.npz", **arrays)


def a_label_missing(folder: Path) -> None:
    from PIL import Image

    for name in ("1.png", "2.png"):
        Image.new("RGB", (16, 16)).save(folder / name)
    (folder / "list.txt").write_text("1.png 0\n2.png\n")


EVAL = "eval net.prototxt net.caffemodel --data"


def converted(folder: Path) -> None:
    """out, and labelled images for it."""
    from tests.conversion import Job, convert

    convert(Job(folder / "net.prototxt", folder / "net.caffemodel", folder / "out"))
    pixels = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3)).astype(np.uint8)
    np.savez(folder / "images.npz", images=pixels, labels=np.arange(8) % 2)


def paged(folder: Path) -> None:
    """out, with a page of it."""
    converted(folder)
    (folder / "out" / "report.html").write_text("mine")


def from_here(folder: Path) -> None:
    """out, whose report names the original from the current folder."""
    from tests.conversion import Job, convert

    convert(Job(Path("net.prototxt"), Path("net.caffemodel"), Path("out")))


def moved(folder: Path) -> None:
    """out, whose original has gone."""
    from_here(folder)
    (folder / "net.caffemodel").rename(folder / "moved.caffemodel")


def changed(folder: Path) -> None:
    """out, whose original is another now."""
    from_here(folder)
    (folder / "net.prototxt").write_text(NET + "# better\n")


def onnx_alone(folder: Path) -> None:
    from deepmerge.out.write import Settings
    from tests.conversion import Job, convert

    settings = Settings(("onnx",), steps=False)
    convert(Job(folder / "net.prototxt", folder / "net.caffemodel", folder / "out", settings=settings))


def another_run(folder: Path) -> None:
    """out, and the checkpoint of a recovery with another seed."""
    from deepmerge.train.recover.job import recover
    from deepmerge.train.recover.spec import Job
    from deepmerge.train.shared.checkpoint import Paused

    converted(folder)
    with contextlib.suppress(Paused):
        recover(Job(Path("out"), "npz:images.npz", Path("recovered"), seed=1, threads=1, stop_after=1e-9))


INSPECT, PAIR = "inspect net.prototxt", "inspect net.prototxt net.caffemodel"
CONVERT, VERIFY = (
    "convert net.prototxt net.caffemodel -o out",
    "verify net.prototxt net.caffemodel net.prototxt net.caffemodel",
)
FINETUNE = "finetune out --data npz:images.npz -o tuned -q --threads 1"
RECOVER = "recover out --data npz:images.npz -o recovered"
CASES: dict[str, Case] = {
    # ReadError: what the file is
    "no such file": Case(ReadError, "inspect nett.prototxt"),
    "empty": Case(ReadError, INSPECT, file("net.prototxt", b"")),
    "lfs": Case(
        ReadError,
        PAIR,
        file("net.caffemodel", "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 53533754\n"),
    ),
    "html": Case(ReadError, PAIR, file("net.caffemodel", "<!DOCTYPE html>\n<html><body>404</body></html>")),
    "gzip": Case(ReadError, PAIR, file("net.caffemodel", gzip.compress(b"net"))),
    "swapped": Case(ReadError, "inspect net.caffemodel net.prototxt"),
    "text": Case(ReadError, "inspect net.prototxt net.prototxt"),
    "solver": Case(ReadError, INSPECT, file("net.prototxt", "net: 'train_val.prototxt'\nbase_lr: 0.01\n")),
    "large": Case(ReadError, INSPECT, lambda folder: (folder / "net.prototxt").write_bytes(b"#" * (33 << 20))),
    # ReadError: the text
    "unclosed": Case(ReadError, INSPECT, text("kernel_size: 3 }", "kernel_size: 3")),
    "template": Case(ReadError, INSPECT, text("num_output: 4", "num_output: ${OUTPUTS}")),
    "open string": Case(ReadError, INSPECT, text('name: "norm1"', 'name: "norm1')),
    "deep": Case(ReadError, INSPECT, file("net.prototxt", "layer {" * 100)),
    # ReadError: the fields
    "kind": Case(ReadError, INSPECT, text("num_output: 4", "num_output: -4")),
    "unquoted": Case(ReadError, INSPECT, text('type: "LRN"', "type: LRN")),
    "misspelt": Case(ReadError, INSPECT, text('bottom: "conv1"', 'botom: "conv1"')),
    "missing": Case(ReadError, INSPECT, text("num_output: 4", "num_outputs: 4")),
    "twice": Case(ReadError, INSPECT, text("num_output: 4", "num_output: 4 num_output: 8")),
    "alone": Case(ReadError, INSPECT, text("kernel_size: 3", "kernel_size: 3 stride_h: 2")),
    "both": Case(ReadError, INSPECT, text("kernel_size: 3", "kernel_size: 3 kernel_h: 3")),
    "zero": Case(ReadError, INSPECT, text("kernel_size: 3", "kernel_size: 3 group: 0")),
    "no type": Case(ReadError, INSPECT, text(' type: "LRN"', "")),
    "axes": Case(ReadError, INSPECT, text("dim: 16 dim: 16", "dim: 16 " * 40)),
    "mixed": Case(ReadError, INSPECT, text('layer { name: "norm1" type: "LRN"', 'layers { name: "norm1" type: LRN')),
    "phases": Case(ReadError, INSPECT, text('"LRN"', '"LRN" include { phase: TEST } exclude { phase: TRAIN }')),
    "image size": Case(ReadError, INSPECT, file("net.prototxt", TRAIN)),
    "no such input": Case(ReadError, f"{INSPECT} --input dat=3,8,8"),
    # ReadError: the caffemodel
    "cut short": Case(ReadError, PAIR, cut),
    "claims": Case(ReadError, PAIR, huge_claim),
    "noise": Case(ReadError, PAIR, file("net.caffemodel", b"\xff\xfe\0noise")),
    "solverstate": Case(ReadError, PAIR, file("net.caffemodel", b"\x08\x64\x12\x03net")),
    # ReadError: images
    "source": Case(ReadError, f"{VERIFY} --images photos"),
    "no folder": Case(ReadError, f"{VERIFY} --images folder:photos"),
    "no images": Case(ReadError, f"{VERIFY} --images folder:photos", lambda folder: (folder / "photos").mkdir()),
    "npz": Case(ReadError, f"{VERIFY} --images npz:photos.npz", file("photos.npz", b"PK\3\4 and no more")),
    "lmdb": Case(ReadError, f"{VERIFY} --images lmdb:photos", file("photos", bytes(9000))),
    "no labels": Case(ReadError, f"{EVAL} npz:photos.npz", photos()),
    "strictly": Case(ReadError, f"{EVAL} list:list.txt --strict", file("list.txt", "photos/1.png 0\n")),
    "calibration": Case(ReadError, f"{CONVERT} --tucker --calibration photos.npz", file("photos.npz", b"PK")),
    # SourceError
    "label": Case(SourceError, f"{EVAL} npz:photos.npz", photos(0, 1, 2)),
    "a label missing": Case(SourceError, f"{EVAL} list:list.txt", a_label_missing),
    # ReadError: solvers
    "policy": Case(ReadError, f"{FINETUNE} --solver lr_policy=steps", converted),
    "no stepsize": Case(ReadError, f"{FINETUNE} --solver lr_policy=step --solver gamma=0.1", converted),
    "momentum": Case(ReadError, f"{FINETUNE} --solver type=AdaGrad", converted),
    "no net": Case(ReadError, f"{FINETUNE} --solver net=trainval.prototxt", converted),
    # ReadError: bench and profile
    "no deploy": Case(ReadError, "profile out --engine ort", lambda folder: (folder / "out").mkdir()),
    "no profile": Case(
        ReadError, "report out --profile a.json", lambda folder: (converted(folder), file("a.json", b"[]")(folder))
    ),
    "no baseline": Case(ReadError, "bench net.prototxt --against a.json", file("a.json", b"{}")),
    # ReadError: OUT
    "no conversion": Case(ReadError, "recover . --data npz:images.npz -o recovered"),
    "moved": Case(ReadError, RECOVER, moved),
    "changed": Case(ReadError, RECOVER, changed),
    "onnx alone": Case(ReadError, RECOVER, onnx_alone),
    # GraphError
    "random weights": Case(GraphError, "profile net.prototxt --engine ort", text('"LRN"', '"Strange"')),
    "everywhere": Case(GraphError, f"{EVAL} npz:photos.npz --output conv1", photos(0, 1)),
    "no blob": Case(GraphError, INSPECT, text('bottom: "norm1"', 'bottom: "norm"')),
    "same name": Case(GraphError, INSPECT, text('name: "norm1"', 'name: "conv1"')),
    "same top": Case(GraphError, INSPECT, text('top: "norm1"', 'top: "data"')),
    "same tops": Case(GraphError, INSPECT, text('top: "norm1"', 'top: "norm1" top: "norm1"')),
    "overwritten": Case(
        GraphError,
        INSPECT,
        lambda folder: (
            text('bottom: "norm1"', 'bottom: "conv1"')(folder)
            and (folder / "net.prototxt").write_text(
                (folder / "net.prototxt").read_text()
                + 'layer { name: "relu" type: "ReLU" bottom: "conv1" top: "conv1" }'
            )
        ),
    ),
    "other inputs": Case(
        GraphError,
        "verify net.prototxt net.caffemodel b.prototxt net.caffemodel",
        lambda folder: (folder / "b.prototxt").write_text(NET.replace('"data"', '"image"')),
    ),
    "unknown shape": Case(GraphError, VERIFY, text(" input_param { shape { dim: 1 dim: 3 dim: 16 dim: 16 } }", "")),
    # ShapeError
    "kernel": Case(ShapeError, INSPECT, text("kernel_size: 3", "kernel_size: 30")),
    "group": Case(ShapeError, INSPECT, text("kernel_size: 3", "kernel_size: 3 group: 2")),
    "overflow": Case(ShapeError, INSPECT, text("num_output: 4", "num_output: 4000000000")),
    "size 0": Case(ShapeError, INSPECT, text("dim: 16 dim: 16", "dim: 0 dim: 16")),
    "even": Case(ShapeError, INSPECT, text('top: "norm1"', 'top: "norm1" lrn_param { local_size: 4 }')),
    "no weights": Case(ShapeError, PAIR, renamed_weights),
    "other weights": Case(ShapeError, PAIR, other_weights),
    "stored twice": Case(ShapeError, PAIR, twice),
    # PassError
    "strict": Case(PassError, f"{CONVERT} --strict", text('"LRN"', '"MyLRN"')),
    "nan": Case(PassError, "convert net.prototxt nan.caffemodel -o out", not_a_number),
    # PlanError
    "no step": Case(PlanError, f"{CONVERT} --steps conv2"),
    "no layer": Case(PlanError, f"{CONVERT} --keep pool9"),
    "recipe key": Case(PlanError, f"{CONVERT} --recipe recipe.toml", file("recipe.toml", RECIPE + "with = 0.5\n")),
    "recipe value": Case(PlanError, f"{CONVERT} --recipe recipe.toml", file("recipe.toml", RECIPE + "width = 2\n")),
    "recipe of tomorrow": Case(
        PlanError, f"{CONVERT} --recipe recipe.toml", file("recipe.toml", RECIPE.replace("= 1", "= 2"))
    ),
    "recipe layer": Case(
        PlanError, f"{CONVERT} --recipe recipe.toml", file("recipe.toml", RECIPE.replace("norm1", "fc"))
    ),
    "recipe of another": Case(
        PlanError, f"{CONVERT} --recipe recipe.toml", file("recipe.toml", RECIPE.replace("norm1", "pool9"))
    ),
    "recipe of data": Case(
        PlanError,
        f"{CONVERT} --recipe recipe.toml",
        file("recipe.toml", RECIPE + 'calibration = "500 images, sha256:226f7a17ff27f225"\n'),
    ),
    # EmitError
    "page": Case(EmitError, "report out", paged),
    "exists": Case(EmitError, CONVERT, exists),
    "forced": Case(EmitError, f"{CONVERT} --force", file("out", "mine")),
    "written": Case(EmitError, "plan net.prototxt --write recipe.toml", file("recipe.toml", RECIPE)),
    "no folder to write": Case(EmitError, "plan net.prototxt --write missing/recipe.toml"),
    # EngineError
    "unknown layer": Case(EngineError, VERIFY, text('"LRN"', '"MyLRN"')),
    "no caffe": Case(EngineError, f"{VERIFY} --engine caffe"),
    "torch": Case(EngineError, f"{VERIFY} --engine torch", text('"LRN"', '"MyLRN"')),
    # TrainingError
    "another run": Case(TrainingError, RECOVER, another_run),
    "diverged": Case(TrainingError, f"{FINETUNE} --solver base_lr=1e30", converted),
    # DeepmergeError
    "worse": Case(
        DeepmergeError,
        "bench a=net.prototxt b=net.prototxt --engine ort --measure time --repeat 2 -q --against a.json",
        baseline,
    ),
    "apart": Case(DeepmergeError, "verify net.prototxt net.caffemodel net.prototxt other.caffemodel -q", others),
}
