"""OUT copied with new weights."""

from __future__ import annotations

import filecmp
import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from deepmerge.formats import LRN_FORMS, OPERATOR
from deepmerge.formats.read.caffemodel import read_caffemodel
from deepmerge.formats.write import write_caffemodel
from deepmerge.out.read import Converted, read_converted
from deepmerge.out.rewrite import Retrained, rewrite
from deepmerge.out.write import Settings
from deepmerge.plan import Wishes
from tests.conversion import Job, convert
from tests.helpers import conv, inputs, layer, network

NAME = b"conv\xff1".decode("utf-8", "surrogateescape")
TEXT = (
    inputs((1, 3, 11, 9))
    + conv("conv\\3771", "data", 4, "kernel_size: 3")
    + layer("norm1", "LRN", "conv\\3771", "local_size: 3")
    + layer("fc", "InnerProduct", "norm1", "num_output: 5")
)


@pytest.fixture(params=[("caffe",), ("caffe", "onnx")])
def converted(request, tmp_path) -> Converted:
    """A conversion with one step, whose layer has a name that is not UTF-8; in ONNX names have to be."""
    graph = network(tmp_path, TEXT if request.param == ("caffe",) else TEXT.replace("\\377", "_"))
    write_caffemodel(graph, tmp_path / "net.caffemodel")
    out, settings = tmp_path / "out", Settings(formats=request.param)
    convert(Job(tmp_path / "net.prototxt", tmp_path / "net.caffemodel", out, settings=settings))
    (out / "report.html").write_text("a page of the old weights")
    (out / "images").symlink_to(tmp_path / "gone")
    return read_converted(out)


def files(folder: Path) -> set[Path]:
    return {file.relative_to(folder) for file in folder.rglob("*") if file.is_file()}


def shifted(graph):
    for one in graph.layers:
        one.weights = [array + np.float32(1) for array in one.weights]
    return graph


def test_new_weights_and_the_rest_as_it_was(converted, tmp_path):
    (step,) = converted.steps
    networks = [
        Retrained(shifted(converted.final.read()), converted.final),
        Retrained(shifted(step.pair.read()), step.pair, step.new_layers, ["fc"]),
    ]
    rewrite(converted, tmp_path / "out2", networks, {**converted.report, "note": "\udcff"})
    assert files(tmp_path / "out2") == files(converted.folder) - {Path("report.html")}
    assert (tmp_path / "out2/images").is_symlink()
    after = read_converted(tmp_path / "out2")
    assert (converted.folder / "model.onnx").exists() or NAME in after.report["steps"][0]["into"]
    assert after.report == {**converted.report, "note": "\udcff"}
    for before, now in ((converted.final, after.final), (step.pair, after.steps[0].pair)):
        for a, b in zip(before.read().layers, now.read().layers, strict=True):
            assert all(np.array_equal(x + np.float32(1), y) for x, y in zip(a.weights, b.weights, strict=True))
    assert [one.name for one in read_caffemodel(after.steps[0].new_layers)] == [
        converted.report["steps"][0]["into"][0],
        "fc",
    ]
    changed = {
        file for file in files(tmp_path / "out2") if not _same(converted.folder / file, tmp_path / "out2" / file)
    }
    assert {file.suffix for file in changed} <= {".caffemodel", ".json", ".onnx"}
    assert len(changed) == 4 + (converted.folder / "model.onnx").exists()


def test_of_a_read_only_out_comes_one_that_is_not(converted, tmp_path):
    there = [path for path in (converted.folder, *converted.folder.rglob("*")) if not path.is_symlink()]
    for path in there:
        path.chmod(0o555 if path.is_dir() else 0o444)
    rewrite(converted, tmp_path / "out2", [], converted.report)
    made = [path for path in (tmp_path / "out2", *(tmp_path / "out2").rglob("*")) if not path.is_symlink()]
    assert all(path.stat().st_mode & 0o200 for path in made)
    for path in there:
        path.chmod(0o755)


def test_networks_that_are_not_retrained_stay(converted, tmp_path):
    rewrite(converted, tmp_path / "out2", [], converted.report)
    for file in files(tmp_path / "out2"):
        assert _same(converted.folder / file, tmp_path / "out2" / file)
    assert json.loads((tmp_path / "out2/report.json").read_text(errors="surrogateescape")) == converted.report


@pytest.mark.parametrize("form", LRN_FORMS)
def test_lrn_keeps_its_form(tmp_path, form):
    write_caffemodel(network(tmp_path, TEXT.replace("\\377", "_")), tmp_path / "net.caffemodel")
    wishes, settings = Wishes(exact=True), Settings(("caffe", "onnx"), onnx_lrn=form)
    convert(Job(tmp_path / "net.prototxt", tmp_path / "net.caffemodel", tmp_path / "out", wishes, settings=settings))
    before = read_converted(tmp_path / "out")
    rewrite(before, tmp_path / "out2", [Retrained(shifted(before.final.read()), before.final)], before.report)
    for folder in (tmp_path / "out", tmp_path / "out2"):
        kinds = {node.op_type for node in onnx.load(folder / "model.onnx").graph.node}
        assert ("LRN" in kinds) == (form == OPERATOR)
        assert read_converted(folder).report["onnx"] == {"lrn": form}


def _same(a: Path, b: Path) -> bool:
    return filecmp.cmp(a, b, shallow=False)
