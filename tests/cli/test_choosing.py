from __future__ import annotations

import csv
import filecmp
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import deepmerge
from deepmerge.choose.loss import Inside
from deepmerge.passes.support.base import Options
from deepmerge.plan import Wishes, make_plan, read_recipe
from deepmerge.plan.region_choices import find_regions

STEPS = ("--steps", "conv2,inception_4a")
GOAL = ("--data", "npz:x.npz", "--speedup", 2)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    file = tmp_path_factory.mktemp("images") / "images.npz"
    pictures = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), np.uint8)
    np.savez(file, images=pictures, labels=np.zeros(40, np.int64))
    return f"npz:{file}"


@pytest.fixture(scope="module")
def times(tmp_path_factory, models):
    """A file with times for all choices, so that only losses are measured. Copy it."""
    folder = models / "inception_mini"
    graph = deepmerge.load(folder / "inception_mini.prototxt", folder / "inception_mini.caffemodel").graph
    steps = [c.step for c in make_plan(graph, Wishes()).candidates if c.step.name in STEPS[1].split(",")]
    file = tmp_path_factory.mktemp("times") / "m.csv"
    with open(file, "w", newline="") as out:
        rows = csv.writer(out)
        rows.writerow(["region", "candidate", "ms"])
        for region in find_regions(graph, steps, Options()):
            if {layer for step in steps for layer in step.layers} & set(region.layers):
                rows.writerows([region.name, c.label, 10 / (1 + 0.2 * i)] for i, c in enumerate(region.choices))
    return file


@pytest.fixture(scope="module")
def measured(tmp_path_factory, times):
    """The same file for all tests, to which the losses are added once."""
    return Path(shutil.copy(times, tmp_path_factory.mktemp("measured") / "m.csv"))


@pytest.fixture
def asked(images, measured):
    return (*STEPS, "--data", images, "--measurements", measured, "--choosing-images", 40)


def test_plan_shows_each_region_and_writes_the_recipe(run, mini, asked, tmp_path):
    recipe = tmp_path / "r.toml"
    done = run("plan", *mini, *asked, "--speedup", 1.05, "--write", recipe)
    assert done.code == 0, done
    assert "next best, and why not" in done.out and "times as fast as the original" in done.out
    assert f"--recipe {recipe} -o out" in done.next
    assert all(step.note for step in read_recipe(recipe).steps if "tucker" not in step.name)


def test_convert_replays_to_the_same_bytes_without_images(run, mini, asked, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    assert run("convert", *mini, *asked, "--speedup", 1.05, "--no-fit", "-o", one).code == 0
    assert run("convert", *mini, "--recipe", one / "recipe.toml", "-o", two).code == 0
    for name in ("deploy.prototxt", "weights.caffemodel", "recipe.toml"):
        assert filecmp.cmp(one / name, two / name, shallow=False), name


def test_a_plan_knows_the_images_that_it_was_chosen_by(mini, images, measured):
    """`convert` must not replace them."""
    frontier = deepmerge.load(*mini).frontier(images, steps=STEPS[1], measurements=measured, images=40)
    assert frontier.plan(speedup=1.05).specs == [images]


def test_two_runs_with_the_same_measurements_write_the_same_recipe(run, mini, asked, tmp_path):
    recipes = tmp_path / "one.toml", tmp_path / "two.toml"
    for recipe in recipes:
        assert run("plan", *mini, *asked, "--speedup", 1.05, "--write", recipe).code == 0
    assert recipes[0].read_bytes() == recipes[1].read_bytes() and b"note" in recipes[0].read_bytes()


def _with_losses(file):
    """The names of the choices in a file of measurements that have a loss."""
    with open(file, newline="") as lines:
        return {(row["region"], row["candidate"]) for row in csv.DictReader(lines) if row.get("loss") and row["region"]}


KILLED = """
import os, signal
from deepmerge.__main__ import main
from deepmerge.choose.loss import Inside
judge, judged = Inside.judge, []
def killing(inside, choice):
    if len(judged) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    judged.append(choice)
    return judge(inside, choice)
Inside.judge = killing
main()
"""


def test_a_killed_run_goes_on_where_it_was(run, mini, images, times, tmp_path, monkeypatch):
    file = Path(shutil.copy(times, tmp_path / "m.csv"))
    words = ("plan", *mini, "--steps", "conv2", "--data", images, "--measurements", file, "--choosing-images", 40)
    picture = tmp_path / "f.png"
    command = [sys.executable, "-c", KILLED, *map(str, words), "--frontier", str(picture)]
    assert subprocess.run(command, capture_output=True).returncode == -signal.SIGKILL and not picture.exists()
    before, had = file.read_text(), _with_losses(file)

    judged, judge = [], Inside.judge

    def counted(inside, choice):
        judged.append((inside.region.name, choice.label))
        return judge(inside, choice)

    monkeypatch.setattr(Inside, "judge", counted)
    assert run(*words, "--write", tmp_path / "after").code == 0
    assert file.read_text().startswith(before), "what was measured before the kill stays"
    assert len(had) == 2 and judged and not had & set(judged)
    assert sorted(judged) == sorted(_with_losses(file) - had)

    judged.clear()
    assert run(*words, "--write", tmp_path / "undisturbed").code == 0
    assert not judged
    recipes = [{one.name: one.read_bytes() for one in (tmp_path / n).iterdir()} for n in ("after", "undisturbed")]
    assert recipes[0] == recipes[1] and recipes[0]


def test_convert_fits_what_it_has_chosen(run, mini, asked, tmp_path):
    done = run("convert", *mini, *asked, "--speedup", 1.05, "-o", tmp_path / "out", "--json")
    assert done.code == 0, done
    report = json.loads(done.out)
    assert [stage["name"] for stage in report["recovery"]["stages"]] == ["lsq"]
    assert report["choice"]["kept"] and report["choice"]["goal"] == {"speedup": 1.05}


@pytest.fixture
def refused(measured, tmp_path):
    """The measurements with a choice that the engine refuses: the file, the region and the choice."""
    with open(measured, newline="") as lines:
        rows = list(csv.reader(lines))
    row = next(row for row in rows[1:] if row[1] != "leave" and row[2])
    row[2] = "inf"
    file = tmp_path / "m.csv"
    with open(file, "w", newline="") as out:
        csv.writer(out).writerows(rows)
    return file, row[0], row[1]


def test_what_is_left_out_is_told(run, mini, asked, refused):
    """By plan, and by convert in its report; and what the passes leave alone."""
    file, region, label = refused
    words = (*asked, "--measurements", file, "--keep", "pool1/norm1", "--speedup", 1.05, "--json")
    for command in (("plan",), ("convert", "--dry-run")):
        done = run(*command, *mini, *words)
        assert done.code == 0 and "since their time is inf" in done.err and f"{region} {label!r}" in done.err
        found = json.loads(done.out)
        assert any("is kept, as asked" in one["reason"] for one in found["refusals"])
        assert found["choice"]["time_measured"] is False
        assert found["choice"]["frontier"]["timed_on"] == f"times given in {file}"
    assert any("since their time is inf" in text for text in found["warnings"])


def test_strict_does_not_fail_on_what_an_engine_refuses(run, mini, asked, refused):
    words = (*asked, "--measurements", refused[0], "--speedup", 1.05, "--strict", "--dry-run", "--json")
    done = run("convert", *mini, *words)
    assert done.code == 0 and json.loads(done.out)["choice"]["kept"], done


def test_strict_fails_before_measuring_on_an_image_that_cannot_be_read(run, mini, times, tmp_path):
    image, file = pytest.importorskip("PIL.Image"), Path(shutil.copy(times, tmp_path / "m.csv"))
    photos, noise = tmp_path / "photos", np.random.default_rng(0)
    photos.mkdir()
    for number in range(40):
        image.fromarray(noise.integers(0, 256, (32, 32, 3), np.uint8)).save(photos / f"{number:02}.png")
    (photos / "00.png").write_bytes(b"")
    words = (*STEPS, "--data", f"folder:{photos}", "--measurements", file, "--speedup", 1.05, "--strict", "--dry-run")
    done = run("convert", *mini, *words)
    assert done.code == 1 and done.line.startswith("deepmerge: --strict: ") and "00.png" in done.line
    assert file.read_bytes() == times.read_bytes()


def test_int8_is_calibrated_on_the_images_that_choose(run, mini, asked, images, tmp_path):
    words = ("--speedup", 1.05, "--no-fit", "--emit", "caffe,onnx-int8", "--calibration-images", 8)
    done = run("convert", *mini, *asked, *words, "-o", tmp_path / "out", "--json")
    assert done.code == 0, done
    report = json.loads(done.out)
    assert (report["calibration"]["source"], report["calibration"]["images"]) == (images, 8)
    assert (tmp_path / "out" / "model-int8.onnx").is_file() and report["choice"]["kept"]


def test_a_goal_that_cannot_be_kept_writes_nothing(run, mini, asked, tmp_path):
    done = run("convert", *mini, *asked, "--speedup", 500, "-o", tmp_path / "out")
    assert done.code == 1
    assert "--speedup 500 cannot be reached: the fastest plan takes" in done.err
    assert not (tmp_path / "out").exists()


def test_plan_shows_the_nearest_plan_and_fails(run, mini, asked):
    done = run("plan", *mini, *asked, "--speedup", 500)
    assert done.code == 1 and "times as fast as the original" in done.out
    assert "cannot be reached" in done.err


def test_max_loss_is_held_on_other_images(run, mini, asked):
    done = run("plan", *mini, *asked, "--max-loss", 30, "--json")
    assert done.code == 0, done
    found = json.loads(done.out)
    assert found["choice"]["checked_agreement"] >= 0.7


def test_the_frontier_is_drawn_and_written(run, mini, asked, tmp_path):
    picture, folder = tmp_path / "f.png", tmp_path / "recipes"
    done = run("plan", *mini, *asked, "--frontier", picture, "--write", folder)
    assert done.code == 0, done
    assert picture.read_bytes().startswith(b"\x89PNG")
    recipes = [read_recipe(file) for file in sorted(folder.iterdir())]
    assert len(recipes) == done.out.split("plans measured whole")[0].count(" %")


def test_a_file_where_the_folder_of_recipes_should_be_is_told_before_measuring(run, mini, tmp_path):
    """The images, which do not exist, have not been looked for."""
    file = tmp_path / "recipes"
    file.write_text("mine")
    done = run("plan", *mini, "--data", "npz:none.npz", "--write", file, "--force")
    assert (done.code, done.line) == (1, f"deepmerge: {file}: is not a folder, and --force replaces folders only")
    assert file.read_text() == "mine"


def test_a_folder_that_is_not_there_is_told_before_measuring(run, mini, tmp_path):
    """The images, which do not exist, have not been looked for."""
    file = tmp_path / "missing" / "r.toml"
    done = run("plan", *mini, *GOAL, "--write", file)
    why = "cannot be written: No such file or directory; make its folder first; nothing was written"
    assert (done.code, done.line) == (1, f"deepmerge: {file}: {why}")


def test_a_folder_of_recipes_does_not_replace_what_is_read(run, pair, tmp_path):
    """The network, or the images: both are there afterwards."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for folder, held in ((tmp_path, pair[0]), (photos, photos)):
        done = run("plan", *pair, "--data", f"folder:{photos}", "--write", folder, "--force")
        says = f"deepmerge: {folder}: holds {held}, which --force would delete; give another folder"
        assert (done.code, done.line) == (1, says)
    assert photos.exists() and all(file.exists() for file in pair)


@pytest.mark.parametrize(
    "words, says",
    [
        (("--speedup", 2), "--speedup needs --data SPEC"),
        ((*GOAL, "--max-loss", 1), "exclude each other"),
        ((*GOAL, "--width", 0.5), "--width has no effect with --data"),
        (("--data", "npz:x.npz", "--speedup", 1), "'--speedup': 1.0 is not in the range"),
        (("--data", "npz:x.npz"), "--data needs a goal"),
        (("--no-fit",), "--no-fit has no effect without --data SPEC"),
        ((*GOAL, "--no-fit", "--recover-minutes", 5), "--recover-minutes has no effect with --no-fit"),
        ((*GOAL, "--dry-run", "--recover-stages", "lsq"), "--recover-stages has no effect with --dry-run"),
        ((*GOAL, "--target", "atlas500"), "by their names, which the target atlas500 changes: add --no-fit"),
        ((*GOAL, "--style", "distinct-tops"), "which --style distinct-tops changes: add --no-fit"),
    ],
)
def test_wrong_usage_exits_with_2(run, mini, tmp_path, words, says):
    done = run("convert", *mini, "-o", tmp_path / "out", *words)
    assert done.code == 2 and says in done.err
