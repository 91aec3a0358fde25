from __future__ import annotations

import json

import pytest

from deepmerge.plan import read_recipe


def columns(text: str) -> list[list[str]]:
    """The words of a table's rows, up to the first blank line."""
    return [line.split() for line in text.split("\n\n")[0].splitlines()[2:]]


def test_steps_and_costs(run, models):
    done = run("plan", models / "googlenet/deploy.prototxt")
    assert done.code == 0 and done.err == ""
    rows = columns(done.out)
    assert [row[:3] for row in rows][:3] == [["1", "conv1", "no"], ["2", "conv2", "no"], ["3", "inception_3a", "no"]]
    assert len(rows) == 11 and rows[0][-3:] == ["conv1/7x7_s2,", "pool1/3x3_s2,", "pool1/norm1"]
    assert "activations, planned" in done.out


def test_all_names_with_v(run, models):
    net = models / "googlenet/deploy.prototxt"
    assert "(7 layers)" in run("plan", net).out
    shown = run("plan", net, "-v").out
    assert "(7 layers)" not in shown and "inception_3a/1x1, inception_3a/3x3_reduce, inception_3a/3x3, " in shown


def test_exact_cleanup_is_shown(run, mini):
    steps, cleanup, *_ = run("plan", *mini).out.split("\n\n")
    assert "conv1" in steps and cleanup == "exact cleanup: remove_dropout (1)"
    assert "exact cleanup: remove_dropout (pool5/drop)" in run("plan", *mini, "-v").out.splitlines()
    alone = run("plan", *mini, "--exact").out
    assert alone.startswith("no step, only exact cleanup: remove_dropout (1)\n\n")


def test_json(run, mini):
    done = run("plan", *mini, "--json")
    assert done.code == 0 and done.err == ""
    result = json.loads(done.out)
    assert list(result) == ["version", "network", "before", "after", "steps", "cleanup", "refusals", "costly"]
    assert set(result["before"]) == {"layers", "layer_types", "params", "macs", "storage_bytes", "activation_bytes"}
    for step in result["steps"]:
        assert list(step) == ["index", "name", "passes", "exact", "merged", "into", "after"]
    assert [step["index"] for step in result["steps"]] == list(range(1, len(result["steps"]) + 1))
    assert result["after"] == result["steps"][-1]["after"]
    assert {"pass": "remove_dropout", "layers": ["pool5/drop"]} in result["cleanup"]


def test_costly_steps_are_shown_apart_from_refusals(run, models):
    net = models / "squeezenet_v1.1/deploy.prototxt"
    shown = run("plan", net).out
    assert "fire2        its layers would need 57,802,752 MACs, not 32,112,640" in shown
    assert "--steps all,fire2" in shown
    refusals = shown.split("left alone, because")[1]
    assert "pool10" in refusals and "fire2" not in refusals
    result = json.loads(run("plan", net, "--json", "--steps", "fire2").out)
    assert [step["name"] for step in result["steps"]] == ["fire2"]
    assert [one["name"] for one in result["costly"]] == ["fire4", "fire6", "fire7", "fire8", "fire9"]
    assert result["costly"][0]["layers"] == ["fire4/concat"]


def test_a_network_with_nothing_to_merge(run, tmp_path):
    net = tmp_path / "net.prototxt"
    net.write_text('layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }\n'
                   'layer { name: "prob" type: "Softmax" bottom: "data" top: "prob" }\n')  # fmt: skip
    done = run("plan", net)
    assert done.code == 0 and done.out.startswith("no step: ")


def test_warnings_go_to_stderr(run, pair):
    pair[0].write_text(pair[0].read_text().replace('type: "LRN"', 'type: "Strange"', 1))
    done = run("plan", *pair)
    assert done.code == 0 and done.err.startswith("warning: layer 'pool1/norm1' has the unknown type 'Strange'")
    assert "warning" not in done.out
    assert run("plan", *pair, "-q").err == ""


def test_write_and_convert_it(run, mini, tmp_path):
    recipe = tmp_path / "rezept-ü.toml"
    assert run("plan", *mini, "--steps", "conv2,inception_3a-3b", "--width", "0.25", "--write", recipe).code == 0
    assert [step.name for step in read_recipe(recipe).steps] == ["conv2", "inception_3a-3b"]
    done = run("convert", *mini, "--recipe", recipe, "-o", tmp_path / "out", "--json")
    assert done.code == 0, done.err
    assert [step["name"] for step in json.loads(done.out)["steps"]] == ["conv2", "inception_3a-3b"]
    assert (tmp_path / "out/recipe.toml").read_bytes() == recipe.read_bytes()
    direct = run(
        "convert", *mini, "--steps", "conv2,inception_3a-3b", "--width", "0.25", "-o", tmp_path / "direct", "-q"
    )
    assert direct.code == 0
    for name in ("deploy.prototxt", "weights.caffemodel"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "direct" / name).read_bytes()


def test_write_does_not_replace_unless_forced(run, mini, tmp_path):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("mine")
    done = run("plan", mini[0], "--write", recipe)
    assert (
        done.code == 1
        and done.line == f"deepmerge: {recipe}: exists already; give another name, or --force to replace it"
    )
    assert recipe.read_text() == "mine"
    assert run("plan", mini[0], "--write", recipe, "--force").code == 0
    assert read_recipe(recipe).network == "InceptionMini"
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.toml"]


def test_an_interrupt_while_the_steps_run_leaves_no_recipe(run, mini, tmp_path, monkeypatch):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("deepmerge.api.plan.Plan.to_dict", interrupted)
    assert run("plan", mini[0], "--write", tmp_path / "recipe.toml").code == 130
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("where", ["none/recipe.toml", "folder"])
def test_write_where_it_cannot(run, mini, tmp_path, where):
    (tmp_path / "folder").mkdir()
    done = run("plan", mini[0], "--write", tmp_path / where, "--force")
    assert done.code == 1 and done.line.startswith(f"deepmerge: {tmp_path / where}: cannot be written: ")
    assert [path.name for path in tmp_path.rglob("*")] == ["folder"]


def test_write_a_name_that_is_not_utf8(run, mini, tmp_path):
    net, recipe = tmp_path / "net.prototxt", tmp_path / "recipe.toml"
    net.write_bytes(mini[0].read_bytes().replace(b'"pool1/norm1"', b'"norm\xff1"'))
    done = run("plan", net, "--write", recipe)
    assert (done.code, done.err) == (0, "") and b'"bytes:norm%FF1"' in recipe.read_bytes()
    assert "norm\udcff1" in {name for step in read_recipe(recipe).steps for name in step.layers}


def test_the_same_plan_every_time(run, models):
    net = models / "resnet50/deploy.prototxt"
    assert run("plan", net).out == run("plan", net).out
