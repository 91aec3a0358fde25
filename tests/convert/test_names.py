"""A network whose names are any characters or bytes, through all outputs: each holds the names, and nothing else."""

from __future__ import annotations

import json
import subprocess
import unicodedata
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
import pytest
from click.testing import CliRunner
from google.protobuf import text_format
from hypothesis import example, given, settings
from hypothesis import strategies as st

from deepmerge.cli import main
from deepmerge.formats import schema
from deepmerge.formats.read import read_network
from deepmerge.formats.read.caffemodel import read_caffemodel
from deepmerge.formats.read.prototxt import read_prototxt
from deepmerge.formats.write import write_caffemodel
from deepmerge.formats.write.prototxt import format_tree
from deepmerge.names import encoded, for_onnx, from_toml
from tests.helpers import conv, fill, inputs, layer, relu
from tests.strange_names import NAMES, TROUBLE

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

ROLES = ("net", "input", "data", "conv", "norm", "pool", "last")
TEXT = (
    inputs((1, 3, 9, 9))
    + conv("conv", "data", 4, "kernel_size: 3")
    + relu("conv")
    + layer("norm", "LRN", "conv", "local_size: 3")
    + layer("pool", "Pooling", "norm", "pool: MAX kernel_size: 2 stride: 2")
    + conv("last", "pool", 5, "kernel_size: 2")
)
# ROLES apart from each other, with one troublesome piece in all of them
TROUBLED = [[role + piece for role in ROLES] for piece in TROUBLE]
SETS = st.lists(NAMES.filter(bool), min_size=len(ROLES), max_size=len(ROLES), unique=True)


def renamed(folder: Path, names: list[str]) -> tuple[Path, Path]:
    """The network of TEXT with these names for ROLES, as prototxt and caffemodel; weights are random."""
    new = dict(zip(ROLES, names, strict=True))
    (folder / "plain.prototxt").write_text(TEXT)
    tree = read_prototxt(folder / "plain.prototxt")
    for message in [tree, *(field.value for field in tree if field.name == "layer")]:
        for key in ("name", "bottom", "top"):
            values = [type(value)(new.get(value, value)) for value in message.values(key)]
            if values:
                message.set(key, *values)
    (folder / "net.prototxt").write_bytes(encoded(format_tree(tree)))
    graph = read_network(folder / "net.prototxt")
    fill(graph, 5)
    write_caffemodel(graph, folder / "net.caffemodel")
    return folder / "net.prototxt", folder / "net.caffemodel"


def run(*words: object) -> str:
    """What a command prints, which is harmless on a terminal."""
    done = CliRunner().invoke(main, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    bad = {char for char in done.output if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp")}
    assert bad <= {"\n"}
    return done.stdout


def names_in(data: object) -> set[str]:
    """All strings in JSON or TOML, keys too."""
    if isinstance(data, dict):
        return set(data) | {name for value in data.values() for name in names_in(value)}
    if isinstance(data, list):
        return {name for value in data for name in names_in(value)}
    return {data} if isinstance(data, str) else set()


def converted(folder: Path, names: list[str]) -> tuple[tuple[Path, Path], Path]:
    pair = renamed(folder, names)
    run("convert", *pair, "-o", folder / "out", "--emit", "caffe,onnx")
    return pair, folder / "out"


@settings(max_examples=6, deadline=None)
@given(SETS)
@example([role + "\nbase_lr: 5" for role in ROLES])
@example([role + "\udcff\udc80" for role in ROLES])
@example([role + "é" * 200 for role in ROLES])
@example(["<!DOCTYPE", *ROLES[1:]])
def test_every_output_holds_the_names(names):
    with TemporaryDirectory() as made:
        pair, out = converted(Path(made), names)
        net, _, data, first, _, _, last = names
        graph = read_network(out / "deploy.prototxt", out / "weights.caffemodel")
        assert (graph.name, graph.layers[0].tops[0].name) == (net, data)
        assert {first, last} <= {one.name for one in graph.layers}
        assert {one.name for one in read_caffemodel(out / "weights.caffemodel") if one.blobs} == {first, last}

        report = json.loads((out / "report.json").read_text(encoding="utf-8"))
        recipe = tomllib.loads((out / "recipe.toml").read_text(encoding="utf-8"))
        assert report["network"] == from_toml(recipe["network"]) == net
        for step, entry in zip(recipe["step"], report["steps"], strict=True):
            assert from_toml(step["name"]) == entry["name"]
            assert set(map(from_toml, step["layers"])) | set(entry["merged"]) | set(entry["into"]) <= {
                *names,
                "conv/relu",
            }

        model = onnx.load(out / "model.onnx")
        assert [value.name for value in model.graph.input] == [for_onnx(data)]
        assert model.graph.name == for_onnx(net)
        check_steps(out)
        check_page(out)

        again = Path(made, "again")
        run("convert", *pair, "-o", again, "--recipe", out / "recipe.toml", "--emit", "caffe,onnx")
        for file in ("deploy.prototxt", "weights.caffemodel", "recipe.toml", "model.onnx", "solver.prototxt"):
            assert (again / file).read_bytes() == (out / file).read_bytes()


def check_steps(out: Path) -> None:
    """The solvers say what they say for any names, and make goes through all folders."""
    folders = sorted((out / "steps").iterdir())
    assert [folder.name[:3] for folder in folders] == [f"{i:02d}-" for i in range(1, len(folders) + 1)]
    for folder in [*folders, out]:
        text = (folder / "solver.prototxt").read_text(encoding="utf-8")
        solver = text_format.Parse(text, schema.message_class("SolverParameter")())
        assert round(solver.base_lr, 6) == 0.001 and solver.net == "train_val.prototxt"
        assert read_prototxt(folder / "train_val.prototxt").value("layer") is not None
    made = subprocess.run(["make", "-n", "-f", "finetune.mk"], cwd=out, capture_output=True, text=True)
    assert made.returncode == 0 and not made.stderr
    assert [folder.name for folder in folders if f"cd ./steps/{folder.name}/ &&" in made.stdout] == [
        folder.name for folder in folders
    ]


def check_page(out: Path) -> None:
    run("report", out)
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.count("</script>") == page.count("<script")


@settings(max_examples=6, deadline=None)
@given(SETS)
@example([role + "\udcff\u202e\x9b" for role in ROLES])
def test_every_command_shows_the_names(names):
    with TemporaryDirectory() as made:
        pair = renamed(Path(made), names)
        for command, shown in (("inspect", names[3:]), ("plan", names[4:6])):
            run(command, *pair, "-v")
            assert set(shown) <= names_in(json.loads(run(command, *pair, "--json")))
        report = json.loads(run("convert", *pair, "-o", Path(made, "out"), "--dry-run", "--json"))
        assert report["network"] == names[0]
        run("convert", *pair, "-o", Path(made, "out"), "--dry-run", "-v")


@pytest.mark.slow
@pytest.mark.parametrize("names", TROUBLED, ids=range(len(TROUBLED)))
def test_each_troublesome_piece(names, tmp_path):
    test_every_output_holds_the_names.hypothesis.inner_test(names)
    test_every_command_shows_the_names.hypothesis.inner_test(names)


@pytest.mark.parametrize("piece", ["\n", '"\\', "\u202e\u200b", "é" * 150, "\x9b\x7f", "# $(x)"], ids=range(6))
def test_real_caffe_reads_the_names(piece, worker, tmp_path):
    """Names that are not UTF-8 too are right in the files, but pycaffe has no strings for them."""
    names = [role + piece for role in ROLES]
    _, out = converted(tmp_path, names)
    for folder in (out, *(out / "steps").iterdir()):
        graph = read_network(folder / "deploy.prototxt")
        with worker.load(folder / "deploy.prototxt", folder / "weights.caffemodel") as session:
            assert list(session.inputs) == [names[2]]
            assert set(session.blobs) == {blob.name for blob in graph.blobs}
            assert set(session.params()) == {names[3], names[6]}
