"""The public Python API does what the commands do, and its examples run."""

from __future__ import annotations

import doctest
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import deepmerge
from deepmerge.cli import main
from deepmerge.passes.support.base import Options
from deepmerge.plan.region_choices import find_regions

ROOT = Path(__file__).resolve().parents[1]
PAIR = tuple(f"models/inception_mini/inception_mini.{kind}" for kind in ("prototxt", "caffemodel"))


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    """report.json holds the paths as they were given."""
    monkeypatch.chdir(ROOT)


@pytest.fixture(scope="module")
def network():
    return deepmerge.load(*(ROOT / file for file in PAIR))


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """Eight labelled images of noise, as an npz file."""
    file = tmp_path_factory.mktemp("images") / "images.npz"
    noise = np.random.default_rng(0)
    np.savez(file, images=noise.integers(0, 256, (8, 32, 32, 3), np.uint8), labels=np.arange(8))
    return file


def command(capsys, *words):
    """What a command prints with --json."""
    main([*map(str, words), "--json"], standalone_mode=False)
    result = json.loads(capsys.readouterr().out)
    assert result["version"] == 1
    return result


def files(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_its_examples_run():
    from deepmerge import api

    found = doctest.testmod(api)
    assert found.attempted and not found.failed


def test_all_that_it_promises_is_there():
    assert all(getattr(deepmerge, name) for name in deepmerge.__all__)
    assert set(deepmerge.__all__) <= set(dir(deepmerge))
    with pytest.raises(AttributeError, match="no attribute 'merge'"):
        deepmerge.merge  # noqa: B018


@pytest.mark.parametrize(
    "options, words",
    [
        ({}, []),
        ({"exact": True}, ["--exact"]),
        ({"steps": "conv1,inception_3a-3b", "width": 0.75, "init": "xavier"},
         ["--steps", "conv1,inception_3a-3b", "--width", "0.75", "--init", "xavier"]),
        ({"tucker": True, "rank": "macs:0.5", "keep": ["conv1/3x3"]}, ["--tucker", "--rank", "macs:0.5", "--keep", "conv1/3x3"]),
    ],
)  # fmt: skip
def test_a_conversion_is_what_the_command_writes(options, words, tmp_path):
    network = deepmerge.load(*PAIR)
    network.convert(network.plan(**options), tmp_path / "api")
    main(["convert", *PAIR, "-o", str(tmp_path / "command"), "-q", *words], standalone_mode=False)
    assert files(tmp_path / "api") == files(tmp_path / "command")


def test_what_is_written_can_be_chosen(tmp_path):
    network = deepmerge.load(*PAIR, train_val="models/inception_mini/train_val.prototxt")
    network.convert(
        network.plan(steps="conv1"), tmp_path / "api", emit=["caffe", "onnx"], style=["legacy-input"], onnx_lrn="op", solver={"base_lr": "0.02"}, step_folders=False
    )  # fmt: skip
    words = [
        "--steps",
        "conv1",
        "--emit",
        "caffe,onnx",
        "--style",
        "legacy-input",
        "--onnx-lrn",
        "op",
        "--solver",
        "base_lr=0.02",
        "--no-steps",
    ]
    words += ["--train-val", "models/inception_mini/train_val.prototxt"]
    main(["convert", *PAIR, "-o", str(tmp_path / "command"), "-q", *words], standalone_mode=False)
    assert files(tmp_path / "api") == files(tmp_path / "command")


def test_calibrated_as_the_command_is(images, tmp_path):
    network = deepmerge.load(*PAIR)
    plan = network.plan(tucker=True, rank="macs:0.5", calibration=f"npz:{images}", calibration_images=4)
    network.convert(plan, tmp_path / "api")
    words = ["--tucker", "--rank", "macs:0.5", "--calibration", f"npz:{images}", "--calibration-images", "4"]
    main(["convert", *PAIR, "-o", str(tmp_path / "command"), "-q", *words], standalone_mode=False)
    assert files(tmp_path / "api") == files(tmp_path / "command")


def test_a_conversion_is_carried_out_once(network, tmp_path):
    begun = []
    made = network.convert(
        network.plan(steps="conv1,conv2"), tmp_path / "out", progress=lambda *now: begun.append(now[0])
    )
    assert begun == ["conv1", "conv2", "writing"]
    assert made.report == json.loads((tmp_path / "out/report.json").read_text())
    assert deepmerge.verify(made, made, random=1)["ok"] and made.prototxt == tmp_path / "out/deploy.prototxt"


def test_the_page_is_the_commands(tmp_path):
    network = deepmerge.load(*PAIR)
    network.convert(network.plan(steps="conv1"), tmp_path / "api" / "out", page=True)
    words = ["-o", str(tmp_path / "command" / "out"), "-q", "--steps", "conv1", "--report"]
    main(["convert", *PAIR, *words], standalone_mode=False)
    assert files(tmp_path / "api") == files(tmp_path / "command")


def test_a_plan_and_its_network_can_be_used_twice(images, tmp_path):
    network = deepmerge.load(*PAIR)
    plan = network.plan(tucker=True, rank="macs:0.5", calibration=f"npz:{images}", calibration_images=4)
    for name in ("first", "second"):
        network.convert(plan, tmp_path / name)
    assert files(tmp_path / "first") == files(tmp_path / "second")
    assert network.warnings == []


def test_a_recipe_is_replayed_with_the_sizes_that_it_was_made_with(tmp_path):
    sized = deepmerge.load(*PAIR, inputs={"data": (2, 3, 32, 32)}).plan(steps="conv1").recipe
    made = deepmerge.load(*PAIR).convert(sized, tmp_path / "out")
    assert made.report["inputs"] == {"data": [2, 3, 32, 32]}
    again = deepmerge.load(*PAIR).convert(deepmerge.read_recipe(tmp_path / "out/recipe.toml"))
    assert again.report == made.report


def test_a_recipe_of_another_network_is_refused(network, tmp_path):
    (tmp_path / "r.toml").write_text(network.plan().recipe.to_toml())
    other = deepmerge.load("models/alexnet/deploy.prototxt")
    for recipe, where in ((tmp_path / "r.toml", "r.toml: "), (network.plan().recipe, "the recipe: ")):
        with pytest.raises(deepmerge.DeepmergeError, match=f"{where}was made for the network 'InceptionMini'"):
            other.plan(recipe=recipe)


def test_a_recipe_can_be_written_and_replayed(network, tmp_path):
    network.plan(steps="conv2").write(tmp_path / "recipe.toml")
    made = network.convert(tmp_path / "recipe.toml")
    assert [step["name"] for step in made.report["steps"]] == ["conv2"]
    with pytest.raises(deepmerge.DeepmergeError, match="force=True"):
        network.plan().write(tmp_path / "recipe.toml")


@pytest.mark.parametrize("words", [[], ["--steps", "conv1"], ["--exact"]])
def test_plan_says_the_same(capsys, words):
    options = {"steps": "conv1"} if "--steps" in words else {"exact": bool(words)}
    network = deepmerge.load(*PAIR)
    found = json.loads(json.dumps(network.plan(**options).to_dict()))
    assert command(capsys, "plan", *PAIR, *words) == {"version": 1, **found} and found["before"] == network.costs


def test_a_chosen_plan_says_what_the_same_steps_say(network):
    """It names its ranks, and so is listed without computing any weights."""
    found = network.plan().found
    regions = find_regions(network.graph, [one.step for one in found.candidates], Options())
    choice = next(one for region in regions for one in region.choices if len(one.steps) > 1 and "rank" in one.label)
    found = replace(found, recipe=replace(found.recipe, steps=choice.steps))
    plain = deepmerge.Plan(network, found).to_dict()
    assert deepmerge.Plan(network, replace(found, choice={"goal": {"speedup": 2}})).to_dict() == plain
    assert [step["name"] for step in plain["steps"]] == [step.name for step in choice.steps]
    assert all(layer.weights for layer in network.graph.layers if layer.type == "Convolution")


def test_inspect_says_the_same(capsys):
    found = json.loads(json.dumps(deepmerge.load(*PAIR).to_dict()))
    assert command(capsys, "inspect", *PAIR) == {"version": 1, **found}


def test_what_a_network_holds(network):
    assert network.name and network.warnings == []
    assert network.blobs["data"] == (1, 3, 32, 32)
    assert [layer.name for layer in network.layers][:2] == ["data", "conv1/3x3"]
    assert sum(array.size for array in network.weights["conv1/3x3"]) == network.layers[1].params


def test_a_conversion_leaves_its_original_alone(network):
    before = network.costs["layers"], network.weights.keys()
    made = network.convert()
    assert made.costs["layers"] < before[0]
    assert made.original is network and (network.costs["layers"], network.weights.keys()) == before
    assert made.report["after"] == made.costs


def test_verify_takes_networks_that_are_on_no_disk(network, capsys):
    exact = network.convert(network.plan(exact=True))
    assert exact.prototxt is None
    found = deepmerge.verify(network, exact, random=2)
    assert found["ok"] and found["images"] == 2
    same = deepmerge.verify(PAIR, PAIR, random=2)
    assert command(capsys, "verify", *PAIR, *PAIR, "--random", 2) == {"version": 1, **same}


def test_recover_and_evaluate(network, images, tmp_path, capsys):
    network.convert(network.plan(steps="conv1"), tmp_path / "out")
    report = deepmerge.recover(tmp_path / "out", f"npz:{images}", tmp_path / "out2", stages=["lsq"])
    assert [stage["name"] for stage in report["recovery"]["stages"]] == ["lsq"]
    found = deepmerge.evaluate(tmp_path / "out2", f"npz:{images}", top=(1,))
    printed = command(capsys, "eval", tmp_path / "out2", "--data", f"npz:{images}", "--top", "1")
    assert json.loads(json.dumps(found["networks"])) == printed["networks"]
    agreed = deepmerge.evaluate(deepmerge.load(*PAIR), f"npz:{images}", against=PAIR)
    assert agreed["networks"][0]["agreement"]["top1"] == 1


def test_finetune_and_tabulate_do_what_the_commands_do(network, images, tmp_path, capsys):
    network.convert(network.plan(steps="conv1"), tmp_path / "out")
    data, folder = f"npz:{images}", tmp_path / "out"
    options = {"solver": {"max_iter": "2", "base_lr": "0.001"}, "threads": 1, "batch_size": 4}
    done = deepmerge.finetune(folder, data, tmp_path / "tuned", **options)
    words = ["--max-iter", "2", "--solver", "base_lr=0.001", "--threads", "1", "--batch-size", "4"]
    printed = command(capsys, "finetune", folder, "--data", data, "-o", tmp_path / "tuned2", *words)
    assert done["finetuning"]["runs"][0]["loss_after"] == printed["runs"][0]["loss_after"] is not None
    weights = [tmp_path / name / "weights.caffemodel" for name in ("out", "tuned", "tuned2")]
    assert weights[0].read_bytes() != weights[1].read_bytes() == weights[2].read_bytes()
    table = deepmerge.tabulate([folder, tmp_path / "tuned"], data=data, top=(1,), seconds=0)
    words = ["--data", data, "--top", "1", "--seconds", "0"]
    assert json.loads(json.dumps(table["rows"])) == command(capsys, "table", folder, tmp_path / "tuned", *words)["rows"]


@pytest.mark.parametrize("call, match", [
    (lambda: deepmerge.recover("out", "npz:a.npz", "new", stages=["distil"]), "no stage 'distil'; did you mean 'distill'"),
    (lambda: deepmerge.finetune("out", "npz:a.npz", "new", solver={"base_rl": "1"}), "no field 'base_rl'"),
])  # fmt: skip
def test_mistakes_in_training_are_errors(call, match):
    with pytest.raises(deepmerge.DeepmergeError, match=match):
        call()


def test_save_writes_a_pair(network, tmp_path):
    network.save(tmp_path / "pair")
    assert deepmerge.verify(network, deepmerge.load(*sorted_pair(tmp_path / "pair")), random=1)["ok"]
    with pytest.raises(deepmerge.DeepmergeError, match="exists already"):
        network.save(tmp_path / "pair")


def sorted_pair(folder: Path) -> list[Path]:
    return [folder / "deploy.prototxt", folder / "weights.caffemodel"]


def test_without_weights_a_network_is_planned_but_not_converted():
    network = deepmerge.load(PAIR[0])
    assert network.plan().steps
    with pytest.raises(deepmerge.DeepmergeError, match="load it with its caffemodel"):
        network.convert()


def test_tables_escape_names(tmp_path):
    file = tmp_path / "net.prototxt"
    file.write_text(
        'name: "<b>&amp;" layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 4 dim: 4 } } }\n'
        'layer { name: "<script>\\033[31m" type: "ReLU" bottom: "data" top: "data" }'
    )
    network = deepmerge.load(file)
    for shown in (network._repr_html_(), network.plan()._repr_html_()):
        assert "<script>" not in shown and "<b>" not in shown and shown.startswith("<table>")
    assert "\x1b" not in str(network) + repr(network) + network._repr_html_()
    assert "&lt;script&gt;\\x1b[31m" in network._repr_html_()
    assert str(network).count("\n") == 5 and "1×3×4×4" in str(network)


@pytest.mark.parametrize("mistake, match", [
    ({"exact": True, "tucker": True}, "exclude"), ({"steps": "conv9"}, "conv9"), ({"keep": ["conv9"]}, "conv9"),
])  # fmt: skip
def test_mistakes_are_errors_of_one_line(network, mistake, match):
    with pytest.raises(deepmerge.DeepmergeError, match=match) as caught:
        network.plan(**mistake)
    assert "\n" not in str(caught.value)


def test_importing_it_is_quick_and_loads_nothing():
    program = "import sys; before = set(sys.modules); import deepmerge; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.split() == ["deepmerge"]


def test_the_examples_in_the_documentation_run(tmp_path, images, monkeypatch, capsys):
    """Those of docs/reference/python.md, one after the other."""
    page = (ROOT / "docs/reference/python.md").read_text(encoding="utf-8")
    examples = re.findall(r"(?ms)^```python\n(.*?)^```$", page)
    (tmp_path / "models").symlink_to(ROOT / "models")
    for name in ("train.npz", "test.npz"):
        (tmp_path / name).symlink_to(images)
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for example in examples:
        exec(example, names)
    assert len(examples) == 3 and "conv1/3x3" in capsys.readouterr().out
