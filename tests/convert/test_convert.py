"""convert from end to end: whatever it emits loads and runs in real Caffe, and is what it says it is."""

from __future__ import annotations

import errno
import filecmp
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from deepmerge.errors import EmitError, PassError, PlanError
from deepmerge.formats import schema
from deepmerge.formats.read import read_network
from deepmerge.formats.write import write_pair
from deepmerge.graph.fingerprint import weights_digest
from deepmerge.out.read import read_converted
from deepmerge.out.write import Output, Settings
from deepmerge.passes.support.base import Options
from deepmerge.plan.plan import Wishes
from tests.conversion import Job, convert
from tests.helpers import apart, conv, inputs, layer, network, relu
from tests.pairs import check_deploy, check_new_layers, check_training, feeds, folders, lmdb_settings
from tests.real_images import prepared, read_npz
from tests.renamed import Renamer

slow = pytest.mark.slow
SIZES = {"inception_mini": 32, "alexnet": 227, "googlenet": 224, "resnet50": 224, "squeezenet": 227}
NETWORKS = [name if name == "inception_mini" else pytest.param(name, marks=slow) for name in SIZES]
SOME = {
    "inception_mini": "conv1,conv2,inception_3a-4a",
    "alexnet": "conv1,conv2-conv5",
    "googlenet": "conv1,conv2,inception_4b-4d",
    "resnet50": "conv1",
    "squeezenet": "fire3-fire5",
}
MODES = {
    "exact": Wishes(exact=True),
    "default": Wishes(),
    "tucker": Wishes(tucker=True),
    "width": Wishes(options=Options(width=1.0)),
    "cover": Wishes(options=Options(kernel="cover")),
    "steps": None,  # those in SOME
}


@pytest.fixture(scope="session")
def source(request, models):
    """name → (prototxt, caffemodel)."""

    def pair(name: str) -> tuple[Path, Path]:
        folder = models / name if name == "inception_mini" else request.getfixturevalue("zoo")
        return folder / f"{name}.prototxt", folder / f"{name}.caffemodel"

    return pair


@pytest.fixture
def mini(source) -> tuple[Path, Path]:
    return source("inception_mini")


@pytest.fixture(scope="session")
def lmdbs(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("lmdbs")


@pytest.fixture(scope="session")
def photographs(shared):
    """size → 32 photographs as the zoo's networks are fed."""
    images, _ = read_npz(shared / "data/cifar10_test.npz", 32)
    return lambda size: {"data": prepared(images, size, size)}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", NETWORKS)
def test_whatever_is_emitted_runs_in_real_caffe(name, mode, source, lmdbs, worker, tmp_path):
    size, out = SIZES[name], tmp_path / "out"
    wishes = MODES[mode] or Wishes(steps=SOME[name])
    report = convert(Job(*source(name), out, wishes, settings=lmdb_settings(lmdbs, size), check=True))
    rough = [s for s in report["steps"] if not s["exact"]]
    assert len(folders(out)) == len(rough) + 1
    assert bool(rough) == (
        mode != "exact" and (name, mode) != ("squeezenet", "cover")
    )  # there every merge raises the MACs
    for folder in folders(out):
        check_deploy(worker, folder, feeds(size))
        check_training(worker, folder)
    check_new_layers(worker, out)


@pytest.mark.parametrize("name", NETWORKS)
def test_exact_conversion_is_exact_on_photographs(name, source, worker, photographs, tmp_path):
    convert(Job(*source(name), tmp_path / "out", Wishes(exact=True)))
    images = photographs(SIZES[name])
    with worker.load(*source(name)) as before:
        wanted = before.forward(images)
    with worker.load(tmp_path / "out/deploy.prototxt", tmp_path / "out/weights.caffemodel") as after:
        assert apart(wanted, after.forward(images)) <= 1e-5


@pytest.mark.parametrize("step", ["inception_3a", "inception_4a"])
def test_full_width_embedding_is_exact_on_photographs(step, mini, worker, photographs, tmp_path):
    wishes = Wishes(steps=step, options=Options(width="full", absorb=("branches",)))
    report = convert(Job(*mini, tmp_path / "out", wishes))
    (done,) = [s for s in report["steps"] if s["name"] == step]
    assert done["exact"] and f"{step}/1x1" in done["merged"] and f"{step}/pool_proj" not in done["merged"]
    images = photographs(32)
    with worker.load(*mini) as before:
        wanted = before.forward(images)
    with worker.load(tmp_path / "out/deploy.prototxt", tmp_path / "out/weights.caffemodel") as after:
        assert f"{step}/1x1" not in after.params()
        assert apart(wanted, after.forward(images)) <= 1e-5


# A fold and the removal of a Dropout between two merges of LRNs
FOLDED = (
    inputs((1, 3, 12, 10))
    + conv("conv1", "data", 4, "kernel_size: 3")
    + layer("norm1", "LRN", "conv1", "k: 2")
    + conv("conv2", "norm1", 5)
    + layer("bn2", "BatchNorm", "conv2")
    + layer("drop", "Dropout", "bn2")
    + conv("conv3", "drop", 6, "kernel_size: 2")
    + layer("norm3", "LRN", "conv3", "k: 2")
    + layer("prob", "Softmax", "norm3")
)
PASS_AT = {"norm1": "merge_lrn", "bn2": "fold_batchnorm", "drop": "remove_dropout", "norm3": "merge_lrn"}


@pytest.mark.parametrize("order", ["bn2 norm1 drop norm3", "norm1 drop bn2 norm3", "drop norm3 norm1 bn2"])
def test_a_step_that_turns_out_exact_has_a_folder_unless_it_says_so(order, tmp_path):
    """It may depend on approximate steps before it, and those after it start from what it made."""
    pair = tmp_path / "net.prototxt", tmp_path / "net.caffemodel"
    write_pair(network(tmp_path, FOLDED), *pair)
    names, recipe = order.split(), tmp_path / "recipe.toml"
    step = '[[step]]\nname = "{0}"\npasses = ["{1}"]\nlayers = ["{0}"]\n'
    recipe.write_text("version = 1\ncleanup = []\n" + "".join(step.format(name, PASS_AT[name]) for name in names))
    report = convert(Job(*pair, tmp_path / "small", recipe=recipe))
    assert [(entry["name"], entry["exact"]) for entry in report["steps"]] == [(name, False) for name in names]
    convert(Job(*pair, tmp_path / "large", recipe=recipe, settings=Settings(step_weights=True)))
    small, large = (read_converted(tmp_path / out, need_steps=True) for out in ("small", "large"))
    assert [one.name for one in small.steps] == names
    digests = [[weights_digest(one.pair.read()) for one in out.steps] for out in (small, large)]
    assert digests[0] == digests[1] and digests[0][-1] == weights_digest(small.final.read())


# -- the same input gives the same bytes -----------------------------------------------------------


def same_files(one: Path, other: Path) -> list[str]:
    """The names of all files, which are the same in both folders, byte by byte."""
    names = sorted(str(p.relative_to(one)) for p in one.rglob("*") if p.is_file())
    assert names == sorted(str(p.relative_to(other)) for p in other.rglob("*") if p.is_file())
    _, unlike, odd = filecmp.cmpfiles(one, other, names, shallow=False)
    assert not unlike and not odd
    return names


ALL = Settings(formats=("caffe", "onnx"))


@pytest.mark.parametrize("name", NETWORKS)
def test_reruns_are_identical(name, source, tmp_path):
    prototxt, caffemodel = source(name)
    convert(Job(prototxt, caffemodel, tmp_path / "one", Wishes(tucker=True), settings=ALL))
    for seed, out in (("1", "other"), ("2", "third")):
        command = [
            sys.executable,
            "-m",
            "deepmerge",
            "convert",
            prototxt,
            caffemodel,
            "-o",
            tmp_path / out,
            "--tucker",
            "--emit",
            "caffe,onnx",
            "-q",
        ]
        root = str(Path(__file__).parents[2])
        subprocess.run(command, check=True, env=dict(os.environ, PYTHONHASHSEED=seed, PYTHONPATH=root))
        names = same_files(tmp_path / "one", tmp_path / out)
    assert {"model.onnx", "report.json", "recipe.toml", "finetune.mk"} <= set(names)
    assert any(n.endswith("new_layers.caffemodel") for n in names)


@pytest.mark.parametrize("mode", ["exact", "default", "tucker", "cover", "steps"])
def test_the_recipe_that_was_written_gives_the_same_again(mode, mini, tmp_path):
    wishes = MODES[mode] or Wishes(steps=SOME["inception_mini"])
    first = convert(Job(*mini, tmp_path / "first", wishes))
    again = convert(Job(*mini, tmp_path / "again", recipe=tmp_path / "first/recipe.toml"))
    assert again["steps"] == first["steps"] and again["after"] == first["after"]
    (tmp_path / "again/report.json").write_text(
        (tmp_path / "first/report.json").read_text()
    )  # the plan's refusals are not in a recipe
    same_files(tmp_path / "first", tmp_path / "again")


@pytest.mark.parametrize("slashes", [True, False], ids=["slashes", "plain"])
@pytest.mark.parametrize("name", [NETWORKS[0], pytest.param("googlenet", marks=slow)])
def test_names_carry_no_magic(name, slashes, source, tmp_path):
    rename = Renamer(7, slashes)
    prototxt, caffemodel = source(name)
    other = (
        rename.prototxt(prototxt, tmp_path / "net.prototxt"),
        rename.caffemodel(caffemodel, tmp_path / "net.caffemodel"),
    )
    one = convert(Job(prototxt, caffemodel, tmp_path / "one", Wishes(tucker=True)))
    two = convert(Job(*other, tmp_path / "two", Wishes(tucker=True)))
    assert len(one["steps"]) > 4
    same = ("index", "passes", "exact", "before", "after")
    for a, b in zip(one["steps"], two["steps"], strict=True):
        assert [a[key] for key in same] == [b[key] for key in same]
        for key in ("merged", "into"):
            assert rename.alike(a[key], b[key])
    assert [r["pass"] for r in one["refusals"]] == [r["pass"] for r in two["refusals"]]
    assert rename.alike(*([r["layer"] for r in report["refusals"]] for report in (one, two)))
    assert one["after"] == two["after"]
    for here, there in zip(folders(tmp_path / "one"), folders(tmp_path / "two"), strict=True):
        for file in here.glob("*.caffemodel"):
            assert arrays(file) == arrays(there / file.name)


def arrays(file: Path) -> list[tuple[str, list[bytes]]]:
    """Type and weights of each layer, in the file's order."""
    net = schema.message_class("NetParameter").FromString(file.read_bytes())
    return [(layer.type, [blob.SerializeToString() for blob in layer.blobs]) for layer in net.layer]


# -- OUT, whole or not at all ----------------------------------------------------------------------


def test_an_existing_out_needs_force_and_is_replaced_whole(mini, tmp_path):
    out = tmp_path / "out"
    convert(Job(*mini, out))
    with pytest.raises(EmitError, match="out: exists already; give another folder, or --force"):
        convert(Job(*mini, out, Wishes(exact=True)))
    assert (out / "steps/01-conv1").is_dir()
    convert(Job(*mini, out, Wishes(exact=True), force=True))
    assert not (out / "steps").exists() and json.loads((out / "report.json").read_text())["steps"] == []
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("fails", ["step", "final", "documents"])
@pytest.mark.parametrize("there", [True, False])
def test_a_write_that_fails_leaves_everything_as_it_was(fails, there, mini, tmp_path, monkeypatch):
    out = tmp_path / "deep/er/out"
    if there:
        convert(Job(*mini, out, Wishes(exact=True)))
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    real = getattr(Output, fails)

    def full(self, *args):
        real(self, *args)
        raise OSError(errno.ENOSPC, "No space left on device", str(self.root / "weights.caffemodel"))

    monkeypatch.setattr(Output, fails, full)
    with pytest.raises(EmitError, match="deep/er/out: cannot be written: No space left on device; free some space"):
        convert(Job(*mini, out, force=True))
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before
    assert [p.name for p in tmp_path.rglob("*") if p.is_dir()] == (["deep", "er", "out"] if there else [])


def test_strict_leaves_nothing(mini, tmp_path):
    odd = tmp_path / "odd.prototxt"
    odd.write_text(mini[0].read_text() + 'layer { name: "odd" type: "Oddity" bottom: "prob" top: "odd" }')
    with pytest.raises(PassError, match="--strict: layer 'odd' has the unknown type 'Oddity'"):
        convert(Job(odd, mini[1], tmp_path / "out", strict=True))
    assert [p.name for p in tmp_path.iterdir()] == ["odd.prototxt"]
    assert convert(Job(odd, mini[1], tmp_path / "out"))["warnings"]


def test_strict_bears_what_only_training_needs_to_know(mini, tmp_path):
    """An exact conversion is not trained; an approximate one is."""
    two = tmp_path / "two.prototxt"
    two.write_text(mini[0].read_text() + 'layer { name: "other" type: "TanH" bottom: "data" top: "other" }')
    report = convert(Job(two, mini[1], tmp_path / "exact", Wishes(exact=True), strict=True))
    assert "alone, of 2 outputs" in report["warnings"][0]
    with pytest.raises(PassError, match="--strict: train_val.prototxt has a loss on .* alone, of 2 outputs"):
        convert(Job(two, mini[1], tmp_path / "out", strict=True))


def test_a_dry_run_says_what_a_run_does_and_writes_nothing(mini, tmp_path):
    said = convert(Job(*mini, tmp_path / "out", dry_run=True))
    assert list(tmp_path.iterdir()) == []
    assert said == convert(Job(*mini, tmp_path / "out")) == json.loads((tmp_path / "out/report.json").read_text())


def test_the_source_may_lie_in_the_out_that_is_replaced(mini, tmp_path):
    convert(Job(*mini, tmp_path / "out", Wishes(exact=True)))
    report = convert(
        Job(tmp_path / "out/deploy.prototxt", tmp_path / "out/weights.caffemodel", tmp_path / "out", force=True)
    )
    assert len(report["steps"]) == 5
    read_network(tmp_path / "out/deploy.prototxt", tmp_path / "out/weights.caffemodel")


# -- what is emitted, and what is not --------------------------------------------------------------


def test_no_steps_and_formats(mini, tmp_path):
    convert(Job(*mini, tmp_path / "out", settings=Settings(formats=("onnx",), steps=False)))
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["model.onnx", "recipe.toml", "report.json"]


BEHIND_RELU = inputs((1, 3, 12, 10)) + conv("conv", "data", 4) + relu("conv") + layer("bn", "BatchNorm", "conv")
BEHIND_RELU += layer("act", "TanH", "bn") + layer("ip", "InnerProduct", "act", "num_output: 5")


@pytest.mark.parametrize("cleanup", ["", '"convert_batchnorm"'], ids=["step", "cleanup"])
def test_gradients_are_clipped_where_a_batchnorm_became_a_scale(cleanup, tmp_path):
    pair, recipe = (tmp_path / "net.prototxt", tmp_path / "net.caffemodel"), tmp_path / "recipe.toml"
    write_pair(network(tmp_path, BEHIND_RELU + layer("prob", "Softmax", "ip")), *pair)
    recipe.write_text(f"version = 1\ncleanup = [{cleanup}]\n")
    report = convert(Job(*pair, tmp_path / "out", Wishes(exact=True), recipe=recipe if cleanup else None))
    assert (report["before"]["layer_types"]["BatchNorm"], report["after"]["layer_types"]["Scale"]) == (1, 1)
    assert bool(report["steps"]) != bool(cleanup)
    assert "\nclip_gradients: 1" in (tmp_path / "out/solver.prototxt").read_text()


def test_progress_counts_the_steps(mini, tmp_path):
    seen = []
    convert(Job(*mini, tmp_path / "out"), lambda *now: seen.append(now))
    assert seen == [
        ("conv1", 0, 5),
        ("conv2", 1, 5),
        ("inception_3a", 2, 5),
        ("inception_3b", 3, 5),
        ("inception_4a", 4, 5),
        ("writing", 5, 5),
    ]


# -- calibration -----------------------------------------------------------------------------------


def calibrated(mini, shared, out, rank="macs:0.5", images=100, wishes=None, **more):
    from deepmerge.convert.calibrate import CalibrationImages

    wishes = wishes or Wishes(tucker=True, options=Options(rank=rank, absorb=()))
    images = CalibrationImages(f"npz:{shared / 'data/cifar10_train.npz'}", mini[0], images)
    return convert(Job(*mini, out, wishes, calibration=images, **more))


def test_calibrated_runs_and_recipes_are_identical(mini, shared, tmp_path):
    """Merges first: what the merged layers are fed is what counts."""
    wishes = Wishes(steps="conv1,inception_3a", tucker=True, options=Options(rank="macs:0.7"))
    report = calibrated(mini, shared, tmp_path / "one", wishes=wishes)
    assert report["calibration"]["images"] == 100 and report["warnings"] == []
    assert [step["name"] for step in report["steps"]] == ["conv1", "inception_3a", "tucker"]
    calibrated(mini, shared, tmp_path / "two", wishes=wishes)
    same_files(tmp_path / "one", tmp_path / "two")
    calibrated(mini, shared, tmp_path / "three", recipe=tmp_path / "one/recipe.toml")
    for name in ("weights.caffemodel", "recipe.toml", "deploy.prototxt", "steps/03-tucker/new_layers.caffemodel"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "three" / name).read_bytes()
    with pytest.raises(PlanError, match="step 'tucker' was made with calibration images"):
        convert(Job(*mini, tmp_path / "four", recipe=tmp_path / "one/recipe.toml"))
    assert not (tmp_path / "four").exists()


def test_images_that_a_recipe_does_not_ask_for_are_warned_of(mini, shared, tmp_path):
    convert(Job(*mini, tmp_path / "plain", Wishes(tucker=True), settings=Settings(steps=False)))
    recipe = tmp_path / "plain/recipe.toml"
    report = calibrated(mini, shared, tmp_path / "out", recipe=recipe, dry_run=True)
    assert report["warnings"] == [f"{recipe}: none of its steps uses calibration images, so they are ignored"]


def test_by_the_data_half_of_the_work_keeps_the_accuracy(mini, shared, worker, tmp_path):
    """In real Caffe, on 500 test images, at equal MACs and before any training; the network itself has 82 %."""
    photos, labels = read_npz(shared / "data/cifar10_test.npz", 500)
    images, right, macs = {"data": prepared(photos, 32, 32)}, {}, {}
    half = Wishes(tucker=True, options=Options(rank="macs:0.5", absorb=()))
    for name in ("plain", "data"):
        out = tmp_path / name
        report = calibrated(mini, shared, out, images=500) if name == "data" else convert(Job(*mini, out, half))
        macs[name] = report["after"]["macs"] / report["before"]["macs"]
        with worker.load(out / "deploy.prototxt", out / "weights.caffemodel") as session:
            (scores,) = session.forward(images).values()
        right[name] = float((scores.reshape(500, -1).argmax(axis=1) == labels).mean())
    assert macs == {"plain": pytest.approx(0.5, abs=0.01), "data": pytest.approx(0.5, abs=0.01)}
    assert right["data"] > 0.77 > 0.65 > right["plain"]
