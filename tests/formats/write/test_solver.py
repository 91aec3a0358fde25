"""solver.prototxt, as protobuf and real Caffe read it; overrides are checked before anything runs."""

from __future__ import annotations

import pytest
from google.protobuf import text_format

from deepmerge.errors import EmitError
from deepmerge.formats import schema
from deepmerge.formats.write.solver import (
    FINAL_ITERATIONS,
    STEP_ITERATIONS,
    Training,
    parse_override,
    snapshots,
    solver_text,
)


def parsed(text: str):
    return text_format.Parse(text, schema.message_class("SolverParameter")())


def made(iterations: int = 100, tests: bool = True, **overrides: str):
    return parsed(solver_text("About.", ["conv1"], Training(iterations, 32, tests), overrides))


def test_as_the_paper_fine_tunes():
    solver = made(STEP_ITERATIONS)
    assert solver.net == "train_val.prototxt" and solver.lr_policy == "poly" and solver.max_iter == 10_000
    assert [round(v, 6) for v in (solver.momentum, solver.weight_decay, solver.base_lr, solver.power)] == [
        0.9,
        2e-4,
        1e-3,
        0.5,
    ]
    assert list(solver.test_iter) == [200] and not solver.test_initialization and solver.snapshot == 5000


def test_a_name_of_snapshots_that_make_cannot_hold():
    with pytest.raises(EmitError, match=r"snapshot_prefix=a\\nb: finetune.mk cannot hold a name with a line break"):
        parse_override("snapshot_prefix=a\nb")


def test_without_test_data_nothing_is_tested():
    solver = made(tests=False)
    assert not solver.test_iter and not solver.HasField("test_interval")


def test_without_batchnorm_gradients_are_clipped():
    """The zoo's ResNet-50, its BatchNorm folded, diverges at once else, even at a hundredth of the step size."""
    folded = Training(100, folded_batchnorm=True)
    text = solver_text("About.", [], folded, {})
    assert parsed(text).clip_gradients == 1 and "# Gradients are clipped at a norm of 1:" in text
    assert not made().HasField("clip_gradients")
    off = solver_text("About.", [], folded, {"clip_gradients": "-1"})
    assert parsed(off).clip_gradients == -1 and "clipped" not in off


def test_comments_say_what_the_numbers_mean():
    text = solver_text("Step 1 of 2, conv1.", [f"c{i}" for i in range(9)], Training(FINAL_ITERATIONS, 32), {})
    comments = [line for line in text.splitlines() if line.startswith("#")]
    assert comments[0] == "# Step 1 of 2, conv1." and comments[1].endswith("c0, c1, c2, c3, c4, c5 and 3 more.")
    assert "0.001 * (1 - i / 40000) ^ 0.5" in comments[2] and comments[3].startswith("# 40000 iterations of 32 images;")
    assert text.index("net:") > text.rindex("#")


def test_comments_follow_the_overrides():
    text = solver_text("About.", [], Training(100, tests=False), {"lr_policy": "step", "max_iter": "7"})
    assert "poly" not in text and "# 7 iterations.\n" in text and "New layers" not in text


@pytest.mark.parametrize(
    ("given", "field", "value"),
    [
        ("base_lr=0.01", "base_lr", 0.01),
        ("base_lr=1e-2", "base_lr", 0.01),
        (" max_iter = 7 ", "max_iter", 7),
        ("lr_policy=step", "lr_policy", "step"),
        ('snapshot_prefix="my run"', "snapshot_prefix", "my run"),
        ("solver_mode=GPU", "solver_mode", 1),
        ("test_initialization=true", "test_initialization", True),
        ("stepvalue=100, 200", "stepvalue", [100, 200]),
        ("random_seed=-1", "random_seed", -1),
    ],
)
def test_overrides(given, field, value):
    found = getattr(made(**dict([parse_override(given)])), field)
    assert (list(found) if isinstance(value, list) else found) == pytest.approx(value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("base_lr", "'base_lr': give KEY=VALUE, such as base_lr=0.01"),
        ("base_lr=", "give KEY=VALUE"),
        ("base_rl=1", "Caffe's solver has no field 'base_rl'; did you mean 'base_lr'"),
        ("qqq=1", "Caffe's solver has no field 'qqq'"),
        ("net_param=x", "has no field 'net_param'"),
        ("base_lr=fast", "base_lr=fast: needs a number"),
        ("max_iter=1_000", "max_iter=1_000: needs a number without a fraction"),
        ("max_iter=1.5", "needs a number without a fraction"),
        ("stepvalue=1,x", "stepvalue=x: needs a number"),
        ("solver_mode=TPU", "solver_mode=TPU: give one of CPU, GPU"),
        ("debug_info=yes", "debug_info=yes: give true or false"),
    ],
)
def test_overrides_that_caffe_would_refuse(given, message):
    with pytest.raises(EmitError, match=message) as caught:
        parse_override(given)
    assert "\n" not in str(caught.value)


def test_what_snapshots_are_called():
    assert snapshots({}) == ("snapshot", ".caffemodel")
    assert snapshots({"snapshot_prefix": '"a/b"', "snapshot_format": "HDF5"}) == ("a/b", ".caffemodel.h5")


def test_overrides_in_real_caffe(worker, tmp_path):
    """Multi-step, Adam, another seed: the solver that comes out is one that Caffe takes, and it trains."""
    overrides = dict(
        map(
            parse_override,
            ["type=Adam", "lr_policy=multistep", "stepvalue=1,2", "gamma=0.1", "base_lr=0.1", "momentum2=0.99"],
        )
    )
    (tmp_path / "solver.prototxt").write_text(solver_text("About.", [], Training(100, 8, tests=False), overrides))
    (tmp_path / "train_val.prototxt").write_text(
        'layer { name: "d" type: "DummyData" top: "x" top: "y" dummy_data_param { shape { dim: 8 dim: 3 } shape { dim: 8 } '
        'data_filler { type: "gaussian" } data_filler { type: "constant" value: 1 } } }\n'
        'layer { name: "fc" type: "InnerProduct" bottom: "x" top: "fc" inner_product_param { num_output: 4 } }\n'
        'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "y" top: "loss" }\n'
    )
    losses = worker.solve(tmp_path / "solver.prototxt", steps=3).losses
    assert losses[2] < losses[0]
