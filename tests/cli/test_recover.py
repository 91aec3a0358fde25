"""deepmerge recover, and convert --recover, as they are typed."""

from __future__ import annotations

import filecmp
import json
import shutil

import pytest

from tests.cli.conftest import with_lost_int8
from tests.train.recover.conftest import lay_out

LSQ = ("--stages", "lsq", "--threads", 1)


@pytest.fixture(scope="session")
def out(tmp_path_factory):
    return lay_out(tmp_path_factory.mktemp("recover"))


@pytest.fixture
def data(out) -> str:
    return f"npz:{out.parent / 'images.npz'}"


def test_a_table_of_the_stages(run, out, data, tmp_path):
    done = run("recover", out, "--data", data, "-o", tmp_path / "out2", *LSQ, "-v")
    assert done.code == 0 and done.err == ""
    head, _, lsq, conv1, *rest = done.out.splitlines()
    assert head.split() == "stage time share iterations loss before after agreement before after".split()
    assert lsq.split()[0] == "lsq" and "100%" in lsq and conv1.split()[0] == "conv1"
    assert "top-1 agreement with the original on 6 held-out images: " in done.out
    assert done.out.splitlines()[-1].startswith(f"written to {tmp_path / 'out2'} (")


def test_json(run, out, data, tmp_path):
    done = run("recover", out, "--data", data, "-o", tmp_path / "out2", *LSQ, "--json")
    story = json.loads(done.out)
    assert story == {"version": 1} | json.loads((tmp_path / "out2" / "report.json").read_text())["recovery"]


def test_stages_are_done_in_their_order(run, out, data, tmp_path):
    pytest.importorskip("torch", reason="pip install 'deepmerge-caffe[torch]'")
    words = ("--stages", "distill,tail", "--iterations", "tail=2,distill=3", "--batch-size", 8, "--threads", 1)
    done = run("recover", out, "--data", data, "-o", tmp_path / "out2", *words)
    assert [line.split()[0] for line in done.out.splitlines()[2:4]] == ["tail", "distill"]


def test_pauses(run, out, data, tmp_path):
    pytest.importorskip("torch", reason="pip install 'deepmerge-caffe[torch]'")
    words = (
        "recover",
        out,
        "--data",
        data,
        "-o",
        tmp_path / "out2",
        "--stages",
        "lsq,tail",
        "--iterations",
        "tail=2",
        "--threads",
        1,
    )
    done = run(*words, "--stop-after", "1e-9")
    assert (
        done.code == 0
        and done.out == "paused after 1e-09 minutes (--stop-after); run the same command again to resume\n"
    )
    assert not (tmp_path / "out2").exists() and (tmp_path / "out2.checkpoint").exists()
    done = run(*words)
    assert done.code == 0 and (tmp_path / "out2").exists() and not (tmp_path / "out2.checkpoint").exists()


def test_nothing_to_recover(run, tmp_path):
    exact = lay_out(tmp_path / "exact", exact=True)
    done = run("recover", exact, "--data", f"npz:{exact.parent / 'images.npz'}", "-o", tmp_path / "out2")
    first, _, last = done.out.splitlines()
    assert (done.code, first) == (0, "nothing to recover: every step is exact")
    assert last.startswith(f"written to {tmp_path / 'out2'} (")


@pytest.mark.parametrize(
    "words, shown",
    [
        (("--stages", "lqs"), "did you mean 'lsq'?"),
        (("--iterations", "lsq=5"), "'lsq=5' is not STAGE=N"),
        (("--iterations", "tail=0"), "'tail=0' is not STAGE=N"),
        (("--minutes", "0"), "--minutes"),
        (("--lr", "-1"), "--lr"),
    ],
)
def test_usage(run, out, data, tmp_path, words, shown):
    done = run("recover", out, "--data", data, "-o", tmp_path / "out2", *words)
    assert done.code == 2 and shown in done.err


def test_a_folder_that_is_none(run, data, tmp_path):
    done = run("recover", tmp_path, "--data", data, "-o", tmp_path / "out2")
    assert done.code == 1 and done.line.endswith(
        "holds no report.json; give the folder that `deepmerge convert` has written"
    )


def test_unreadable_images_are_shown(run, out, tmp_path):
    import numpy as np
    from PIL import Image

    photos = tmp_path / "photos"
    photos.mkdir()
    for i, pixels in enumerate(np.load(out.parent / "images.npz")["images"]):
        Image.fromarray(pixels).save(photos / f"{i:02}.png")
    (photos / "03.png").write_bytes(b"no image")
    words = ("recover", out, "--data", f"folder:{photos}", "-o", tmp_path / "out2", *LSQ)
    done = run(*words)
    assert (
        done.code == 0
        and done.err.startswith("warning: 1 image could not be read and was left out: ")
        and "03.png" in done.err
    )
    done = run(*words, "--strict", "--force")
    assert done.code == 1 and "--strict" in done.line
    pair = out.parent / "net.prototxt", out.parent / "net.caffemodel"
    done = run("convert", *pair, "-o", tmp_path / "both", "--recover", words[3], "--recover-stages", "lsq")
    assert done.code == 0 and "warning: 1 image could not be read and was left out: " in done.err


def test_an_int8_network_that_is_left_out_is_shown(run, out, data, tmp_path):
    done = run("recover", with_lost_int8(out, tmp_path / "old"), "--data", data, "-o", tmp_path / "out2", *LSQ)
    assert done.code == 0 and "warning: model-int8.onnx is left out" in done.err and "gone.npz" in done.err
    assert "said when it was converted" not in done.err, "only what is new is shown"
    first, second = json.loads((tmp_path / "out2" / "report.json").read_text())["warnings"]
    assert first == "said when it was converted" and second.startswith("model-int8.onnx is left out")


def test_convert_and_recover_in_one_go(run, out, data, tmp_path):
    pair = out.parent / "net.prototxt", out.parent / "net.caffemodel"
    done = run("convert", *pair, "-o", tmp_path / "new" / "both", "--recover", data, "--recover-stages", "lsq")
    assert (
        done.code == 0
        and "top-1 agreement with the original" in done.out
        and "until the network is fine-tuned" not in done.out
    )
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["both"]
    run("recover", out, "--data", data, "-o", tmp_path / "out2", "--stages", "lsq")
    assert filecmp.cmp(
        tmp_path / "new" / "both" / "weights.caffemodel", tmp_path / "out2" / "weights.caffemodel", shallow=False
    )


def test_convert_and_recover_leaves_nothing_behind(run, out, tmp_path):
    pair = out.parent / "net.prototxt", out.parent / "net.caffemodel"
    done = run("convert", *pair, "-o", tmp_path / "new" / "both", "--recover", "npz:none.npz")
    assert done.code == 1 and "none.npz: no such file" in done.line and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words, shown",
    [
        (("--recover-minutes", "5"), "--recover-minutes has no effect without --recover or --data"),
        (("--recover", "npz:a.npz", "--dry-run"), "leave --dry-run out"),
        (("--recover", "npz:a.npz", "--emit", "onnx"), "--recover trains"),
        (("--recover", "npz:a.npz", "--target", "atlas500"), "--recover and the target atlas500 exclude each other"),
    ],
)
def test_convert_usage(run, out, tmp_path, words, shown):
    done = run("convert", out.parent / "net.prototxt", out.parent / "net.caffemodel", "-o", tmp_path / "both", *words)
    assert done.code == 2 and shown in done.err


def test_a_recipe_for_a_device_that_renames_blobs_is_not_recovered(run, out, data, tmp_path):
    pair, recipe = (out.parent / "net.prototxt", out.parent / "net.caffemodel"), tmp_path / "r.toml"
    assert run("plan", *pair, "--target", "atlas500", "--write", recipe).code == 0
    done = run("convert", *pair, "-o", tmp_path / "both", "--recipe", recipe, "--recover", data)
    assert done.code == 2 and "--recover and the target atlas500 exclude each other" in done.err
    assert not (tmp_path / "both").exists()


def test_distinct_tops_are_refused(run, out, data, tmp_path):
    """Also where the original has them already: what a layer gives after its BatchNorm then has another one's name."""
    pair, style = (out.parent / "net.prototxt", out.parent / "net.caffemodel"), ("--style", "distinct-tops")
    assert run("convert", *pair, "-o", tmp_path / "exact", "--exact", *style).code == 0
    for files in ([tmp_path / "exact/deploy.prototxt", tmp_path / "exact/weights.caffemodel"], pair):
        assert run("convert", *files, "-o", tmp_path / "styled", "--force", *style).code == 0
        done = run("recover", tmp_path / "styled", "--data", data, "-o", tmp_path / "out2")
        assert done.code == 1 and "--style distinct-tops" in done.line
    shutil.rmtree(tmp_path / "styled")
    assert run("convert", *pair, "-o", tmp_path / "styled", "--style", "legacy-input").code == 0
    assert run("recover", tmp_path / "styled", "--data", data, "-o", tmp_path / "out2", *LSQ).code == 0
    from deepmerge.formats.read.caffemodel import read_caffemodel

    names = [
        [layer.name for layer in read_caffemodel(tmp_path / name / "weights.caffemodel")] for name in ("styled", "out2")
    ]
    assert names[0] == names[1] and "input" not in names[0]


@pytest.mark.parametrize("steps", ["", ",", " , "])
def test_steps_that_name_none(run, out, data, tmp_path, steps):
    done = run("recover", out, "--data", data, "-o", tmp_path / "out2", "--steps", steps)
    assert done.code == 2 and "Invalid value for '--steps': give one word or more" in done.err
    assert not (tmp_path / "out2").exists()
