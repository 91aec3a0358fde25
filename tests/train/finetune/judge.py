"""Real Caffe's solver and ours on the same files and the same images in the same order."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deepmerge.formats.read.caffemodel import read_caffemodel
from deepmerge.formats.write.prototxt import format_tree
from deepmerge.out.read import read_converted
from deepmerge.train.finetune.spec import Job, plan_stages

TYPES: dict[str, dict[str, object]] = {  # and the fields that each needs besides the policy's
    "SGD": {"momentum": 0.9},
    "Nesterov": {"momentum": 0.8},
    "AdaGrad": {"momentum": 0, "delta": 1e-4},
    "RMSProp": {"momentum": 0, "rms_decay": 0.9, "delta": 1e-4},
    "AdaDelta": {"momentum": 0.9, "delta": 1e-5, "base_lr": 1.0},
    "Adam": {"momentum": 0.9, "momentum2": 0.99, "delta": 1e-4},
}
POLICIES: dict[str, dict[str, object]] = {
    "fixed": {},
    "step": {"gamma": 0.5, "stepsize": 3},
    "multistep": {"gamma": 0.5, "stepvalue": "2,2,7"},
    "exp": {"gamma": 0.9},
    "inv": {"gamma": 0.3, "power": 0.75},
    "poly": {"power": 0.5},
    "sigmoid": {"gamma": 0.6, "stepsize": 5},
}
ITERATIONS = 10


@dataclass(frozen=True)
class Judged:
    """weights: how far ours lie from Caffe's, as a share of the largest of each blob, the worst blob.
    changes: the same of what training changed. losses: the largest relative difference of the iterations' losses.
    """

    weights: float
    changes: float
    losses: float


def judge(worker, torch, made: Path, tmp: Path, **fields: object) -> Judged:
    """Train `made`/out with these solver fields, ITERATIONS long, both ways."""
    overrides = {key: str(value) for key, value in fields.items()} | {
        "max_iter": str(ITERATIONS),
        "display": "0",
        "snapshot": "0",
    }
    converted = read_converted(made / "out")
    stage = plan_stages(converted, None, overrides)[0]
    for old in tmp.glob("*"):
        old.unlink()
    solver = tmp / "solver.prototxt"
    solver.write_text(format_tree(stage.solver.tree))
    (tmp / "train_val.prototxt").write_bytes(stage.solver.train.path.read_bytes())
    start = stage.pair.caffemodel
    real = worker.solve(solver, start, ITERATIONS, save=tmp / "caffe.caffemodel", cwd=tmp)
    losses = train(torch, stage, made, tmp)
    before, wanted, found = (_blobs(path) for path in (start, tmp / "caffe.caffemodel", tmp / "ours.caffemodel"))
    assert wanted.keys() == found.keys() and wanted
    moved = [np.abs(wanted[key] - before[key]).max() for key in wanted]
    assert min(moved) > 1e-6, "a blob that nothing changes shows nothing"
    apart = [np.abs(wanted[key] - found[key]).max() for key in wanted]
    sizes = [np.abs(wanted[key]).max() for key in wanted]
    differences = [abs(a - b) / abs(b) for a, b in zip(losses, real.losses, strict=True)]
    return Judged(
        *(max(float(a / b) for a, b in zip(apart, by, strict=True)) for by in (sizes, moved)), max(differences)
    )


def train(torch, stage, made: Path, tmp: Path) -> list[float]:
    """Ours: leaves ours.caffemodel; returns the loss of the last of each iteration's batches, as the worker does."""
    from deepmerge.train.finetune.loop import Control, Loop
    from deepmerge.train.finetune.torch_run import Setup, open_learner

    job = Job(made / "out", tmp, f"lmdb:{made / 'train_lmdb'}", shuffle=False, precision="fp32")
    setup, control = Setup(job, 0, torch.device("cpu")), Control(lambda arrays, log: None, tmp)
    losses = []
    with open_learner(stage, stage.starts_from(None), setup) as learner:
        real = learner.loss

        def watched(batch, draw: int):
            loss = real(batch, draw)
            losses.append(float(loss.detach()))
            return loss

        learner.loss = watched
        Loop(stage.solver, learner, control).run()
        learner.save(tmp / "ours.caffemodel")
    return losses[stage.solver.iter_size - 1 :: stage.solver.iter_size]


def _blobs(path: Path) -> dict[str, np.ndarray]:
    return {f"{m.name}/{i}": blob.astype(np.float64) for m in read_caffemodel(path) for i, blob in enumerate(m.blobs)}
