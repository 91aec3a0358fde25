"""finetune.mk: make understands it, and it walks the steps in order, each from the one before."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from deepmerge.formats.write.makefile import finetune_make
from deepmerge.out.write import Settings
from deepmerge.passes.support.base import Options
from deepmerge.plan.plan import Wishes
from tests.conversion import Job, convert
from tests.pairs import folders, same_weights

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make here")

# Stands in for `caffe train`: writes down where it ran and on what, and "trains" by joining the files that it
# was given, as two caffemodels in one file are one caffemodel (protobuf's messages may be joined so)
FAKE = """#!/bin/sh
set -e
[ "$1 $2 $3 $4" = "train -solver solver.prototxt -weights" ]
[ -e "$3" ] && [ -e train_val.prototxt ]
echo "$(basename "$PWD") $5 $6 $7" >> "$LOG"
cat $(echo "$5" | tr , ' ') > PREFIX_iter_10ENDING
sleep 0.01
cp PREFIX_iter_10ENDING PREFIX_iter_9ENDING; touch -d '1 hour ago' PREFIX_iter_9ENDING
"""


@pytest.fixture
def run(tmp_path):
    """Run finetune.mk in a folder with the fake caffe; what that has written down, a line for each call."""
    log = tmp_path / "log"

    def run(folder: Path, *arguments: str, prefix: str = "snapshot", ending: str = ".caffemodel") -> list[str]:
        caffe = tmp_path / "fake caffe"
        caffe.write_text(FAKE.replace("PREFIX", prefix).replace("ENDING", ending))
        caffe.chmod(0o755)
        log.write_text("")
        command = ["make", "-f", "finetune.mk", f"CAFFE='{caffe}'", *arguments]
        subprocess.run(command, cwd=folder, check=True, capture_output=True, env=dict(os.environ, LOG=str(log)))
        return log.read_text().splitlines()

    return run


def made(tmp_path, models, wishes=None, settings=None) -> Path:
    mini = models / "inception_mini"
    out = tmp_path / "out"
    convert(
        Job(
            mini / "inception_mini.prototxt",
            mini / "inception_mini.caffemodel",
            out,
            wishes or Wishes(),
            settings=settings or Settings(),
        )
    )
    return out


def test_the_steps_in_order_each_from_the_last_ones_weights(run, models, worker, tmp_path):
    out = made(tmp_path, models, Wishes(tucker=True))
    names = [f.name for f in folders(out)[:-1]]
    assert names[0] == "01-conv1" and names[-1] == "06-tucker"
    wanted = ["01-conv1 weights.caffemodel -gpu 0"]
    wanted += [
        f"{name} ../{before}/finetuned.caffemodel,new_layers.caffemodel -gpu 0"
        for before, name in zip(names, names[1:], strict=False)
    ]
    assert run(out, "ARGS=-gpu 0") == wanted
    assert run(out) == []  # what is done is not done again

    # nothing was trained, so that the weights at the end are those that convert made
    one = worker.load(out / "deploy.prototxt", out / "finetuned.caffemodel")
    same_weights(one.params(), worker.load(out / "deploy.prototxt", out / "weights.caffemodel").params())


def test_an_interrupted_run_goes_on_where_it_was(run, models, tmp_path):
    out = made(tmp_path, models)
    run(out, "steps/03-inception_3a/finetuned.caffemodel")
    assert [line.split()[0] for line in run(out)] == ["04-inception_3b", "05-inception_4a"]


def test_a_caffe_that_fails_ends_it(models, tmp_path):
    out = made(tmp_path, models)
    done = subprocess.run(["make", "-f", "finetune.mk", "CAFFE=false"], cwd=out, capture_output=True)
    assert done.returncode and not list(out.rglob("finetuned*"))


def test_without_steps_the_network_itself_is_trained(run, models, tmp_path):
    out = made(tmp_path, models, Wishes(exact=True))
    assert (
        run(out) == ["out weights.caffemodel  "]
        and (out / "finetuned.caffemodel").read_bytes() == (out / "weights.caffemodel").read_bytes()
    )


def test_snapshots_under_another_name(run, models, tmp_path):
    out = made(tmp_path, models, settings=Settings(solver={"snapshot_prefix": "my $run", "snapshot_format": "HDF5"}))
    assert len(run(out, prefix='"my \\$run"', ending=".caffemodel.h5")) == 5
    assert (out / "finetuned.caffemodel.h5").exists()


@pytest.mark.parametrize("wishes", [Wishes(), Wishes(exact=True), Wishes(options=Options(width=1.0))])
def test_make_takes_it(wishes, models, tmp_path):
    out = made(tmp_path, models, wishes)
    done = subprocess.run(["make", "-n", "-f", "finetune.mk"], cwd=out, capture_output=True, text=True, check=True)
    assert done.stderr == "" and done.stdout.count("caffe train") == max(len(folders(out)) - 1, 1)


def test_a_step_needs_the_one_before_it():
    assert (
        "steps/02-b/finetuned.caffemodel: steps/01-a/finetuned.caffemodel steps/02-b/new_layers.caffemodel\n"
        in finetune_make(["01-a", "02-b"])
    )
