"""Reading OUT: what is in it, where the original is, and one line for each way in which it can be spoiled."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from deepmerge.errors import ReadError
from deepmerge.graph.fingerprint import weights_digest
from deepmerge.out.read import read_converted
from deepmerge.out.write import Settings
from deepmerge.plan.plan import Wishes
from tests.conversion import Job, convert


@pytest.fixture
def pair(models, tmp_path):
    return tuple(
        shutil.copy(models / "inception_mini" / f"inception_mini.{kind}", tmp_path)
        for kind in ("prototxt", "caffemodel")
    )


@pytest.fixture
def out(pair, tmp_path):
    convert(Job(*pair, tmp_path / "out", Wishes(steps="conv1,inception_3a")))
    return tmp_path / "out"


def change(out, edit) -> None:
    report = json.loads((out / "report.json").read_text())
    edit(report)
    (out / "report.json").write_text(json.dumps(report))


def test_what_is_in_it(out, pair):
    found = read_converted(out, need_steps=True)
    assert [(step.index, step.name, step.folder.name) for step in found.steps] == [
        (1, "conv1", "01-conv1"),
        (2, "inception_3a", "02-inception_3a"),
    ]
    assert found.steps[0].new_layers.exists() and found.entries == found.approximate
    assert tuple(map(str, found.original)) == tuple(map(str, pair))
    names = [layer.name for layer in found.final.read().layers]
    assert names == [layer.name for layer in found.steps[1].pair.read().layers] and "inception_3a/1x1" not in names


def test_a_steps_weights_are_the_last_steps_with_its_new_layers_on_top(pair, tmp_path):
    for name, complete in (("small", False), ("large", True)):
        convert(Job(*pair, tmp_path / name, settings=Settings(step_weights=complete)))
    small, large = (read_converted(tmp_path / name).steps for name in ("small", "large"))
    assert [step.pair.caffemodel.exists() for step in large] == [True] * 5 and not any(s.pair.over for s in large)
    assert [(step.folder / "weights.caffemodel").exists() for step in small] == [True] + [False] * 4
    for one, other in zip(small, large, strict=True):
        first, *rest = (file.relative_to(tmp_path / "small/steps").as_posix() for file in one.pair.caffemodels)
        assert first == "01-conv1/weights.caffemodel"
        assert rest == [f"{step.folder.name}/new_layers.caffemodel" for step in small[1 : one.index]]
        found, wanted = one.pair.read(), other.pair.read()
        assert found.warnings == [] and weights_digest(found) == weights_digest(wanted)
        assert (one.folder / "new_layers.caffemodel").read_bytes() == other.new_layers.read_bytes()
    assert weights_digest(small[-1].pair.read()) == weights_digest(read_converted(tmp_path / "small").final.read())


def test_a_steps_weights_that_lack_a_layer(pair, tmp_path):
    convert(Job(*pair, tmp_path / "out"))
    second = read_converted(tmp_path / "out").steps[1]
    shutil.copy(
        read_converted(tmp_path / "out").steps[0].new_layers, second.folder.parent / "01-conv1/weights.caffemodel"
    )
    with pytest.raises(ReadError, match=r"02-conv2/deploy.prototxt: layer '.*' has no weights in .*; convert again"):
        second.pair.read()


def test_the_original_is_found_from_the_current_folder_and_from_outs(pair, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    convert(Job("inception_mini.prototxt", "inception_mini.caffemodel", tmp_path / "out"))
    assert read_converted("out").original.prototxt.exists()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert read_converted("../out").original.prototxt.samefile(pair[0])


def test_another_file_of_the_originals_name_is_passed_over(pair, tmp_path, monkeypatch):
    """The current folder comes first, and the network in it is another one."""
    monkeypatch.chdir(tmp_path)
    convert(Job("inception_mini.prototxt", "inception_mini.caffemodel", tmp_path / "out", Wishes(exact=True)))
    (tmp_path / "elsewhere").mkdir()
    other = Path(shutil.copy(pair[0], tmp_path / "elsewhere"))
    other.write_text("# another\n" + other.read_text())
    monkeypatch.chdir(other.parent)
    assert [*map(os.path.samefile, read_converted("../out").original, pair)] == [True, True]
    with open(pair[0], "a") as file:
        file.write("# changed\n")
    with pytest.raises(ReadError, match="^inception_mini.prototxt: has changed since ../out was made from it"):
        assert read_converted("../out").original


def test_an_original_that_has_gone_is_asked_for_when_it_is_needed(out, pair, tmp_path):
    shutil.move(pair[1], tmp_path / "moved.caffemodel")
    found = read_converted(out)
    with pytest.raises(ReadError, match=r"caffemodel, .* is not there \(any more\); say where with --original"):
        assert found.original
    given = (pair[0], tmp_path / "moved.caffemodel")
    assert tuple(map(str, read_converted(out, given).original)) == tuple(map(str, given))
    with pytest.raises(ReadError, match="no such file"):
        assert read_converted(out, (pair[0], pair[1])).original


def test_an_original_that_has_changed_is_refused(out, pair):
    with open(pair[0], "a") as file:
        file.write("# changed\n")
    with pytest.raises(ReadError, match="has changed since .* was made from it"):
        assert read_converted(out).original


def test_without_step_folders(pair, tmp_path):
    convert(Job(*pair, tmp_path / "out", settings=Settings(steps=False)))
    assert read_converted(tmp_path / "out").steps == []
    with pytest.raises(ReadError, match="out: has no folder for each step .* without --no-steps"):
        read_converted(tmp_path / "out", need_steps=True)


def test_only_exact_steps_need_no_folders(pair, tmp_path):
    convert(Job(*pair, tmp_path / "out", Wishes(exact=True)))
    assert read_converted(tmp_path / "out", need_steps=True).steps == []


def test_onnx_alone_is_refused(pair, tmp_path):
    convert(Job(*pair, tmp_path / "out", settings=Settings(formats=("onnx",), steps=False)))
    with pytest.raises(ReadError, match="holds model.onnx alone, .* --emit caffe,onnx"):
        read_converted(tmp_path / "out")


@pytest.mark.parametrize(
    "name",
    [
        "deploy.prototxt",
        "weights.caffemodel",
        "steps/01-conv1/deploy.prototxt",
        "steps/02-inception_3a/new_layers.caffemodel",
    ],
)
def test_missing_files_are_named(out, name):
    (out / name).unlink()
    with pytest.raises(ReadError, match=rf"{name}: is missing"):
        read_converted(out)


def test_other_folders_are_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    for name, text in (("none", "no such folder"), ("file", "is not a folder"), (".", "holds no report.json")):
        with pytest.raises(ReadError, match=f"{text}; give the folder that `deepmerge convert` has written"):
            read_converted(tmp_path / name)


@pytest.mark.parametrize(
    "text, told",
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "it is not an object"),
        ("{}", "it has no 'version'"),
        ('{"version": 2}', "is of version 2, and this deepmerge reads version 1"),
        ('{"version": 1, "source": {}, "steps": []}', "its source has no prototxt"),
        ("", "is empty"),
    ],
)
def test_reports_that_are_none(out, text, told):
    (out / "report.json").write_text(text)
    with pytest.raises(ReadError, match=told):
        read_converted(out)


def test_steps_that_are_none(out):
    change(out, lambda report: report["steps"][1].pop("into"))
    with pytest.raises(ReadError, match="step 2 has no 'into'"):
        read_converted(out)
