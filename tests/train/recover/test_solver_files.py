"""The solvers that recover writes."""

from __future__ import annotations

import pytest

from deepmerge.formats.read.prototxt import read_prototxt
from deepmerge.formats.read.solver import read_solver
from deepmerge.out.read import read_converted
from deepmerge.out.write import Settings
from deepmerge.plan.plan import Wishes
from deepmerge.train.recover.solver_files import write_solvers
from tests.conversion import Job, convert


@pytest.fixture
def out(models, tmp_path):
    pair = (models / f"inception_mini/inception_mini.{kind}" for kind in ("prototxt", "caffemodel"))
    convert(Job(*pair, tmp_path / "out", Wishes(steps="conv1,inception_3a")))
    return tmp_path / "out"


def rates(folder) -> dict[str, list[str]]:
    layers = read_prototxt(folder / "train_val.prototxt").values("layer")
    return {
        str(m.value("name")): [str(spec.value("lr_mult")) for spec in m.values("param")] for m in layers if "param" in m
    }


def test_all_layers_learn_at_one_rate(out):
    new = {name for entry in read_converted(out).approximate for name in entry["into"]}
    before, text = rates(out), (out / "train_val.prototxt").read_text()
    assert {name for name, found in before.items() if found == ["10", "20"]} <= new
    write_solvers(out, new)
    assert before.keys() == rates(out).keys() and set(map(tuple, rates(out).values())) == {("1", "2")}
    changed = [
        a
        for a, b in zip(text.splitlines(), (out / "train_val.prototxt").read_text().splitlines(), strict=True)
        if a != b
    ]
    assert set(map(str.strip, changed)) == {"lr_mult: 10", "lr_mult: 20"}


def test_the_rate_falls_in_a_straight_line_and_gradients_are_clipped(out):
    write_solvers(out, ())
    found = read_solver(out / "solver.prototxt")
    assert (found.power, found.clip_gradients, found.base_lr, found.lr_policy) == (1.0, 10.0, 0.001, "poly")
    text = (out / "solver.prototxt").read_text()
    assert "10 x base_lr" not in text and "# The weights are recovered, so all layers learn at 1 x base_lr" in text
    assert "# Step size at iteration i: 0.001 * (1 - i / 40000) ^ 1, so it falls" in text
    again = text
    write_solvers(out, ())
    assert (out / "solver.prototxt").read_text() == again


def test_what_the_user_has_set_stays(models, tmp_path):
    pair = (models / f"inception_mini/inception_mini.{kind}" for kind in ("prototxt", "caffemodel"))
    settings = Settings(solver={"power": "2", "clip_gradients": "7", "base_lr": "0.05"})
    convert(Job(*pair, tmp_path / "out", Wishes(steps="conv1"), settings=settings))
    write_solvers(tmp_path / "out", ("conv1/3x3",))
    found = read_solver(tmp_path / "out/solver.prototxt")
    assert (found.power, found.clip_gradients, found.base_lr) == (2.0, 7.0, 0.05)
