from __future__ import annotations

import json
import shutil

import pytest

from deepmerge.out.read import read_converted
from deepmerge.out.write import Settings
from deepmerge.page.stages import stages
from deepmerge.plan.plan import Wishes
from tests.conversion import Job, convert


def pair(models, name="inception_mini/inception_mini"):
    return models / f"{name}.prototxt", models / f"{name}.caffemodel"


def titles(found) -> list[str]:
    return [stage.title for stage in found]


def test_all_that_a_conversion_passed_through(mini):
    converted = read_converted(mini)
    found, notes = stages(converted)
    assert notes == []
    assert titles(found) == ["Original", "Exact folds", *(entry["name"] for entry in converted.entries)]
    for stage, entry in zip(found[2:], converted.entries, strict=True):
        assert (stage.totals, stage.entries, stage.index) == (entry["after"], [entry], entry["index"])
        assert not stage.exact
    assert found[0].totals == converted.report["before"] and found[1].totals == converted.entries[0]["before"]
    assert "pool5/drop" in {fact.name for fact in found[0].facts} - {fact.name for fact in found[1].facts}


def test_exact_steps_alone(mini, models, tmp_path):
    convert(Job(*pair(models), tmp_path / "out", Wishes(exact=True)))
    found, notes = stages(read_converted(tmp_path / "out"))
    assert titles(found) == ["Original", "Exact folds"] and notes == []


def test_exact_folds_come_before_the_rest(zoo, tmp_path):
    convert(Job(zoo / "resnet50.prototxt", zoo / "resnet50.caffemodel", tmp_path / "out"))
    found, _ = stages(read_converted(tmp_path / "out"))
    assert titles(found) == ["Original", "Exact folds", "conv1"]
    assert found[1].exact and len(found[1].entries) == 17 and found[2].exact is False
    assert not {fact.type for fact in found[1].facts} & {"BatchNorm", "Scale"}


def test_without_step_folders(models, tmp_path):
    convert(Job(*pair(models), tmp_path / "out", settings=Settings(steps=False)))
    found, notes = stages(read_converted(tmp_path / "out"))
    assert titles(found) == ["Original", "Exact folds", "Final"] and "--no-steps" in notes[0]
    assert found[2].entries == read_converted(tmp_path / "out").entries


def test_onnx_alone(models, tmp_path):
    convert(Job(*pair(models), tmp_path / "out", settings=Settings(formats=("onnx",), steps=False)))
    found, _ = stages(read_converted(tmp_path / "out", need_final=False))
    assert titles(found) == ["Original", "Exact folds"]


@pytest.fixture
def moved(models, tmp_path):
    """OUT whose original has gone."""
    files = [shutil.copy(file, tmp_path) for file in pair(models)]
    convert(Job(*files, tmp_path / "out", Wishes(steps="conv1,inception_3a")))
    for file in files:
        shutil.move(file, f"{file}.moved")
    return tmp_path / "out"


def test_an_original_that_has_gone(moved):
    found, notes = stages(read_converted(moved))
    assert titles(found) == ["conv1", "inception_3a"] and "The original cannot be drawn" in notes[0]
    shutil.rmtree(moved / "steps")
    found, notes = stages(read_converted(moved))
    assert titles(found) == ["Final"] and len(notes) == 2


def test_a_recipe_that_leads_elsewhere_is_not_believed(mini, models, tmp_path):
    shutil.copytree(mini, tmp_path / "out")
    recipe = tmp_path / "out" / "recipe.toml"
    recipe.write_text(recipe.read_text().replace('"remove_dropout", ', ""))
    assert titles(stages(read_converted(tmp_path / "out"))[0])[:2] == ["Original", "conv1"]
    recipe.write_text("no recipe")
    assert titles(stages(read_converted(tmp_path / "out"))[0])[:2] == ["Original", "conv1"]


def test_a_report_without_figures(mini, tmp_path):
    shutil.copytree(mini, tmp_path / "out")
    report = json.loads((mini / "report.json").read_text())
    for step in report["steps"]:
        del step["before"], step["after"]
    (tmp_path / "out" / "report.json").write_text(json.dumps(report))
    assert titles(stages(read_converted(tmp_path / "out"))[0])[:2] == ["Original", "conv1"]
