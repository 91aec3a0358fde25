"""The line `next: …` that ends a command."""

from __future__ import annotations

import shlex
import shutil

import numpy as np
import pytest


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def images(here) -> str:
    pixels = np.random.default_rng(5).integers(0, 256, (6, 32, 32, 3), np.uint8)
    np.savez(here / "six.npz", images=pixels, labels=np.arange(6))
    return "npz:six.npz"


def words(done) -> list[str]:
    """The command that was named, which must be a whole line."""
    start, _, command = done.next.partition(": ")
    assert start == "next" and command.endswith("\n"), done
    program, *rest = shlex.split(command)
    assert program == "deepmerge"
    return rest


def test_plan_leads_to_convert_with_the_same_options(run, mini, here):
    net, weights = map(str, mini)
    assert words(run("plan", net, "--steps", "conv1", "-v")) == [
        *("convert", net, "CAFFEMODEL", "--steps", "conv1", "-o", "out")
    ]
    (here / "out").mkdir()
    assert words(run("plan", "--keep=conv2/3x3", *mini)) == [
        *("convert", "--keep=conv2/3x3", net, weights, "-o", "out_2")
    ]


def test_plan_write_says_what_it_wrote_and_leads_to_it(run, mini, here):
    done = run("plan", *mini, "--steps", "conv1,conv2", "--write", "my plan.toml")
    assert done.out.endswith("\n\nwritten to my plan.toml: a recipe of 2 steps\n")
    assert words(done) == ["convert", *map(str, mini), "--recipe", "my plan.toml", "-o", "out"]
    assert run(*words(done)).code == 0, "the command can be copied"


def test_from_convert_to_the_page(run, mini, images):
    dry = run("convert", *mini, "--dry-run", "--steps", "conv1", "-v")
    assert words(dry) == ["convert", *map(str, mini), "--steps", "conv1", "-o", "out"]
    made = run(*words(dry))
    recover = [*("recover", "out", "--data", "folder:IMAGES", "-o", "out-recovered", "--minutes", "20")]
    assert words(made)[:8] == recover
    assert words(run("eval", "out", "--data", images))[:8] == recover
    assert words(run("table", "out", "--data", images, "--seconds", "0"))[:8] == recover
    done = run("recover", "out", "--data", images, "-o", "out2", "--stages", "lsq", "--mean", "1,2,3")
    assert words(done) == ["eval", "out2", "--data", "folder:IMAGES", "--mean", "1,2,3"]
    assert words(run("eval", "out2", "--data", images)) == ["report", "out2"]
    assert run(*words(run("eval", "out2", "--data", images))).next == ""


def test_exact_conversions_are_verified_and_timed(run, mini, here):
    pair = [*map(str, mini)]
    converted = words(run("convert", *mini, "-o", "out", "--exact"))
    assert converted == ["verify", *pair, "out/deploy.prototxt", "out/weights.caffemodel"]
    assert words(run(*converted)) == ["bench", *converted[1:]]


def test_verify_of_an_approximate_conversion_says_that_it_is_expected_and_leads_to_eval(run, mini, here):
    run("convert", *mini, "-o", "out", "--steps", "conv1,conv2")
    for folder in ("out", "out/steps/01-conv1"):
        done = run("verify", *mini, f"{folder}/deploy.prototxt", f"{folder}/weights.caffemodel")
        assert done.code == 1 and "this is expected, since B has approximate merges" in done.err
        assert words(done) == ["eval", "out", "--data", "folder:IMAGES"]


def test_verify_of_other_networks_leads_to_the_layers(run, mini, pair, here):
    run("convert", *mini, "-o", "out", "--steps", "conv1")
    (here / "out/report.json").unlink()
    second = "out/deploy.prototxt", "out/weights.caffemodel"
    done = run("verify", *mini, *second)
    assert words(done) == ["verify", *map(str, mini), *second, "--layers"]


def test_a_pair_that_was_measured_leads_to_its_plan(run, mini, images):
    assert words(run("eval", *mini, "--data", images)) == ["plan", *map(str, mini)]


def test_with_json_and_quiet_nothing_comes_next(run, mini, here):
    assert run("plan", *mini, "--json").next == ""
    assert run("plan", *mini, "-q").next == ""


def test_nothing_to_merge_leads_to_inspect(run, here):
    net = 'name: "n" input: "x" input_shape { dim: 1 dim: 3 dim: 5 dim: 4 } layer { name: "p" type: "ReLU" bottom: "x" top: "y" }'
    (here / "n.prototxt").write_text(net)
    assert words(run("plan", "n.prototxt")) == ["inspect", "n.prototxt"]


def test_options_that_follow_one_with_an_optional_value_are_kept(run, mini, images):
    run("convert", *mini, "--steps", "conv1", "-o", "out")
    found = words(run("eval", "out", "--data", images, "--steps", "--mean", "1,2,3"))
    assert found[found.index("--mean") + 1] == "1,2,3"


def test_arguments_after_two_dashes(run, mini, here):
    shutil.copy(mini[0], here / "-net.prototxt")
    assert words(run("plan", "--", "-net.prototxt")) == ["convert", "./-net.prototxt", "CAFFEMODEL", "-o", "out"]


def test_a_page_that_is_there_is_replaced(run, mini, images):
    run("convert", *mini, "--exact", "-o", "out", "--report")
    assert words(run("eval", "out", "--data", images)) == ["report", "out", "--force"]


def test_an_original_that_was_named_is_named_again(run, mini, images, here):
    run("convert", *mini, "--steps", "conv1", "-o", "out")
    found = words(run("table", "out", "--data", images, "--seconds", "0", "--original", *mini))
    assert found[:2] == ["recover", "out"] and found[-3:] == ["--original", *map(str, mini)]
