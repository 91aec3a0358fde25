"""PyTorch in several processes against one: torchrun with Gloo on the CPU."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from deepmerge.errors import DeepmergeError
from deepmerge.formats.read.caffemodel import read_caffemodel
from deepmerge.formats.read.training import read_training
from deepmerge.out.read import read_converted
from deepmerge.train.finetune.job import finetune
from deepmerge.train.finetune.spec import Job, plan_stages
from deepmerge.train.shared.processes import Processes
from tests.helpers import layer
from tests.train.finetune.conftest import DATA

SOLVER = {"max_iter": "12", "display": "1", "iter_size": "2", "clip_gradients": "1"}


def _two_processes(job: Job) -> subprocess.CompletedProcess:
    """Run a job, which is one of `test_two_processes_do_what_one_does`, under torchrun."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torchrun = f"-m torch.distributed.run --nproc-per-node 2 --master-addr 127.0.0.1 --master-port {port}".split()
    words = ["-m", "deepmerge", "finetune", str(job.folder), "--data", job.data, "--test-data", job.test_data]
    words += [
        "-o",
        str(job.out),
        "--threads",
        "1",
        "--seed",
        str(job.seed),
        "--distill",
        "--steps",
        "--precision",
        "fp32",
    ]
    for key, value in job.solver.items():
        words += ["--solver", f"{key}={value}"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    command = [sys.executable, *torchrun, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment)


def test_two_processes_do_what_one_does(made, torch, tmp_path):
    """With a teacher, step by step: the plain losses are a part of that."""
    data, test_data = (f"npz:{made / name}.npz" for name in ("train", "test"))
    job = Job(
        made / "out",
        tmp_path / "of1",
        data,
        test_data,
        SOLVER,
        steps="all",
        distill="kl",
        seed=3,
        threads=1,
        precision="fp32",
    )
    one = finetune(job)["finetuning"]
    two_job = replace(job, out=tmp_path / "of2")
    done = _two_processes(two_job)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("written to") == 1  # one process speaks
    two = json.loads((two_job.out / "report.json").read_text())["finetuning"]
    assert (one["processes"], two["processes"]) == (1, 2)
    for a, b in zip(one["runs"], two["runs"], strict=True):
        assert len(a["losses"]) == 12
        assert np.allclose(a["losses"], b["losses"], rtol=1e-5, atol=0)
        assert a["tests"][-1]["loss"] == pytest.approx(b["tests"][-1]["loss"], rel=1e-5)
    models = [read_caffemodel(out / "weights.caffemodel") for out in (job.out, two_job.out)]
    for a, b in zip(*models, strict=True):
        assert all(np.allclose(x, y, rtol=1e-4, atol=1e-6) for x, y in zip(a.blobs, b.blobs, strict=True)), a.name


def test_a_batch_that_cannot_be_divided(made, torch, tmp_path):
    from deepmerge.train.finetune.torch_run import Setup, open_learner

    job = Job(made / "out", tmp_path / "out2", f"npz:{made / 'train.npz'}", batch_size=5)
    (stage,) = plan_stages(read_converted(job.folder), None, {})
    setup = Setup(job, 0, torch.device("cpu"), Processes(1, 2))
    wanted = "a batch of 5 images cannot be divided among 2 processes; give a --batch-size that is a multiple of 2"
    with pytest.raises(DeepmergeError, match=wanted), open_learner(stage, stage.starts_from(None), setup):
        pass
    assert not job.out.exists()


MINIMISED = {  # what a part of a batch in one of two processes counts for
    "loss": (layer("loss", "SoftmaxWithLoss", "fc label"), 0.5),
    "total": (layer("total", "SoftmaxWithLoss", "fc label", param="loss_param { normalization: NONE }"), 1),
    "twice": (layer("twice", "Power", "loss", "scale: 2", param="loss_weight: 1"), 0.5),
    "mean": (layer("mean", "Reduction", "fc", "operation: MEAN", param="loss_weight: 1"), 0.5),
    "means": (layer("means", "Reduction", "fc", "operation: MEAN axis: 1", param="loss_weight: 1"), 1),
    "sum": (layer("sum", "Reduction", "fc", "operation: SUM", param="loss_weight: 1"), 1),
    "asum": (layer("asum", "Reduction", "fc", "operation: ASUM", param="loss_weight: 1"), 1),
    "sumsq": (layer("sumsq", "Reduction", "fc", "operation: SUMSQ", param="loss_weight: 1"), 1),
    "scores": (layer("scores", "InnerProduct", "fc", "num_output: 1", param="loss_weight: 1"), 1),
    "decay": (
        'layer { name: "p" type: "Parameter" top: "p" parameter_param { shape { dim: 3 } } }\n'
        + layer("decay", "Reduction", "p", "operation: SUMSQ", param="loss_weight: 1"),
        0.5,
    ),
}


def test_means_are_divided_among_processes_and_sums_are_not(torch, tmp_path):
    """The parts of a sum over the batch add up to it already; what no image changes is whole in each process."""
    from deepmerge.train.finetune.torch_run import _loss_weights

    path = tmp_path / "train_val.prototxt"
    texts = (text for text, _ in MINIMISED.values())
    path.write_text(DATA + layer("fc", "InnerProduct", "data", "num_output: 5") + "".join(texts))
    net = read_training(path, "TRAIN", (3, 2, 2))
    found = _loss_weights(net, dict.fromkeys(MINIMISED, 1.0), 2)
    assert found == {name: share for name, (_, share) in MINIMISED.items()}
