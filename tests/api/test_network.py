"""A network is read, looked at, planned for, converted and saved as the commands do it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import deepmerge
from deepmerge.cli import main
from tests.api.commands import PAIR, command, files


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


def test_what_is_read_is_never_replaced(images, tmp_path):
    """The plan's images, too: those to calibrate on, and those that it was chosen by."""
    names = "calibration", "choice", "training"
    for name in names:
        (tmp_path / name).mkdir()
    calibration, choice = (f"npz:{shutil.copy(images, tmp_path / name)}" for name in names[:2])
    train_val = shutil.copy("models/inception_mini/train_val.prototxt", tmp_path / "training/mine.prototxt")
    network = deepmerge.load(*PAIR, train_val=train_val)
    found = network.plan(steps="conv1", calibration=calibration)
    plan = deepmerge.Plan(network, found.found, found.images, choice_data=choice)
    before = files(tmp_path)
    for name in names:
        with pytest.raises(deepmerge.DeepmergeError, match=f"{name}: holds .*, which --force would delete"):
            network.convert(plan, tmp_path / name, force=True)
    assert files(tmp_path) == before


def test_save_writes_a_pair(network, tmp_path):
    network.save(tmp_path / "pair")
    assert deepmerge.verify(network, deepmerge.load(*sorted_pair(tmp_path / "pair")), random=1)["ok"]
    with pytest.raises(deepmerge.DeepmergeError, match="exists already"):
        network.save(tmp_path / "pair")


def test_save_keeps_the_networks_own_files(tmp_path):
    pair = [shutil.copy(file, tmp_path) for file in PAIR]
    before = files(tmp_path)
    with pytest.raises(deepmerge.DeepmergeError, match=r"holds .*\.prototxt, which --force would delete"):
        deepmerge.load(*pair).save(tmp_path, force=True)
    assert files(tmp_path) == before


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
