"""Solvers: every field, the networks that they name, older spellings, and what Caffe's checks refuse."""

from __future__ import annotations

import pytest

from deepmerge.errors import ReadError
from deepmerge.formats.read.solver import POLICIES, TYPES, read_solver

BASE = 'net: "train_val.prototxt"\nbase_lr: 0.01\nlr_policy: "fixed"\nmax_iter: 100\n'


@pytest.fixture
def read(tmp_path):
    """A solver's text → Solver; BASE where the text does not say otherwise."""
    for name in ("train_val.prototxt", "test.prototxt"):
        (tmp_path / name).write_text("")

    def read(text: str = "", base: str = BASE, **more):
        (tmp_path / "solver.prototxt").write_text(base + text)
        return read_solver(tmp_path / "solver.prototxt", **more)

    return read


def test_defaults_are_caffes(read):
    solver = read()
    assert (solver.type, solver.iter_size, solver.momentum, solver.momentum2, solver.rms_decay) == (
        "SGD",
        1,
        0.0,
        0.999,
        0.99,
    )
    assert (solver.delta, solver.weight_decay, solver.regularization_type, solver.clip_gradients) == (
        1e-8,
        0.0,
        "L2",
        -1.0,
    )
    assert (solver.display, solver.average_loss, solver.snapshot, solver.snapshot_after_train, solver.random_seed) == (
        0,
        1,
        0,
        True,
        -1,
    )
    assert solver.tests == () and solver.test_initialization and solver.weights == ()


def test_every_field_is_read(read):
    solver = read(
        'type: "Adam" gamma: .5 power: 2 stepsize: 7 stepvalue: 3 stepvalue: 9 iter_size: 2 momentum: 0.9 momentum2: 0.99 delta: 1e-4 '
        'weight_decay: 0.1 regularization_type: "L1" clip_gradients: 35 display: 20 average_loss: 10 test_iter: 4 test_interval: 50 '
        'test_initialization: false test_compute_loss: true snapshot: 30 snapshot_prefix: "a/b" snapshot_format: HDF5 '
        'snapshot_after_train: false random_seed: 5 solver_mode: CPU weights: "a.caffemodel, b.caffemodel" weights: "c.caffemodel"'
    )
    assert (solver.type, solver.gamma, solver.power, solver.stepsize, solver.stepvalue, solver.iter_size) == (
        "Adam",
        0.5,
        2.0,
        7,
        (3, 9),
        2,
    )
    assert (solver.momentum, solver.momentum2, solver.delta, solver.weight_decay) == (0.9, 0.99, 1e-4, 0.1)
    assert (solver.regularization_type, solver.clip_gradients, solver.display, solver.average_loss) == (
        "L1",
        35.0,
        20,
        10,
    )
    assert [count for _, count in solver.tests] == [4] and solver.test_interval == 50 and not solver.test_initialization
    assert (solver.snapshot, solver.snapshot_prefix, solver.snapshot_format) == (
        30,
        "a/b",
        "HDF5",
    )
    assert not solver.snapshot_after_train and solver.random_seed == 5
    assert solver.weights == ("a.caffemodel", "b.caffemodel", "c.caffemodel")


@pytest.mark.parametrize("name", TYPES)
def test_types_by_both_names(read, name):
    assert read(f'type: "{name}"').type == name
    assert read(f"solver_type: {name.upper()}").type == name
    assert read(f"solver_type: {'SGD NESTEROV ADAGRAD RMSPROP ADADELTA ADAM'.split().index(name.upper())}").type == name


def test_overrides(read):
    given = {
        "base_lr": "0.5",
        "lr_policy": "multistep",
        "gamma": "0.1",
        "stepvalue": "10, 20",
        "type": "Nesterov",
        "max_iter": "7",
    }
    solver = read("solver_type: ADAM", overrides=given)
    assert (solver.base_lr, solver.lr_policy, solver.stepvalue, solver.type, solver.max_iter) == (
        0.5,
        "multistep",
        (10, 20),
        "Nesterov",
        7,
    )
    with pytest.raises(ReadError, match="'max_iter' needs a whole number, found 'many'"):
        read(overrides={"max_iter": "many"})


# -- networks ------------------------------------------------------------------------------------


def test_networks_lie_beside_the_solver_or_in_other_folders(read, tmp_path, monkeypatch):
    assert read().train.path == tmp_path / "train_val.prototxt"
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "other.prototxt").write_text("")
    base = BASE.replace("train_val", "other")
    assert read(base=base, folders=[tmp_path / "out"]).train.path == tmp_path / "out" / "other.prototxt"
    monkeypatch.chdir(tmp_path / "out")  # where Caffe looks
    assert read(base=base).train.path.samefile(tmp_path / "out" / "other.prototxt")
    with pytest.raises(
        ReadError, match=r"solver.prototxt:1:1: net 'none.prototxt' is not there; it was looked for as .*none.prototxt"
    ):
        read(base=BASE.replace("train_val", "none"))


def test_networks_for_training_and_for_each_test(read, tmp_path):
    text = 'train_net: "train_val.prototxt" test_net: "test.prototxt" test_net: "train_val.prototxt" test_iter: 3 test_iter: 4 test_interval: 9'
    solver = read(text, BASE.split("\n", 1)[1])
    assert [(source.path.name, count) for source, count in solver.tests] == [
        ("test.prototxt", 3),
        ("train_val.prototxt", 4),
    ]
    both = read(
        'test_net: "test.prototxt" test_iter: 1 test_iter: 2 test_interval: 9 test_state { stage: "a" } test_state { stage: "b" }'
    )
    assert [source.path.name for source, _ in both.tests] == ["test.prototxt", "train_val.prototxt"]
    assert [source.state.value("stage") for source, _ in both.tests] == ["a", "b"]


def test_networks_in_the_solver_itself(read):
    solver = read('net_param { name: "inside" layer { name: "data" type: "Input" } }', BASE.split("\n", 1)[1])
    assert str(solver.train.tree.value("name")) == "inside" and solver.train.path.name == "solver.prototxt"


NETS = {
    "": "names no network to train; give one, such as net",
    'net: "train_val.prototxt" train_net: "test.prototxt"': r"names 2 networks to train \(train_net, net\); give one",
    'train_net: "train_val.prototxt" test_iter: 1': "has 1 test_iter for 0 test networks; give one for each",
    'net: "train_val.prototxt" test_net: "test.prototxt"': "has 0 test_iter for 1 test networks; give one for each",
    'net: "train_val.prototxt" test_iter: 1 test_interval: 5 test_state { } test_state { }': "has 2 test_state for 1 tests; give one for each",
    'net: "train_val.prototxt" test_iter: 1': "has test_iter, but no test_interval",
    'net: "train_val.prototxt" test_iter: 0 test_interval: 5': "test_iter must be 1 or more",
}


@pytest.mark.parametrize("text", NETS)
def test_networks_that_do_not_go_together(read, text):
    with pytest.raises(ReadError, match=NETS[text]):
        read(text, BASE.split("\n", 1)[1])


# -- what is refused -----------------------------------------------------------------------------

WRONG = {
    'type: "Adem"': "type 'Adem' is not a solver of Caffe's; did you mean 'Adam'",
    "solver_type: LION": "solver_type LION is none of SGD, NESTEROV",
    'type: "SGD" solver_type: SGD': "has both type and solver_type, its older form; keep type",
    "momentun: 0.9": r":5:1: Caffe's solver has no field 'momentun'; did you mean 'momentum'\?",
    "momentum: high": r":5:1: 'momentum' needs a number, found 'high'",
    "momentum: 0.9 momentum: 0.8": "'momentum' is given twice",
    "iter_size: 0": "iter_size is 0; give 1 or more",
    "average_loss: 0": "average_loss is 0; give 1 or more",
    "display: -1": "display is -1; give 0 for never, or a number of iterations",
    "weight_decay: nan": "weight_decay is nan; give a finite number",
    'regularization_type: "L3"': "regularization_type is L3; give one of L2, L1",
    'type: "AdaGrad" momentum: 0.9': "momentum is 0.9; AdaGrad has none, and Caffe refuses it; set it to 0",
    'type: "RMSProp" momentum: 0.9': "momentum is 0.9; RMSProp has none",
    'type: "RMSProp" rms_decay: 1': "rms_decay is 1.0; RMSProp needs 0 or more, and less than 1",
    'type: "Adam" momentum: 1': "momentum is 1.0; Adam needs 0 or more, and less than 1",
}


@pytest.mark.parametrize("text", WRONG)
def test_refused(read, text):
    with pytest.raises(ReadError, match=WRONG[text]):
        read(text)


@pytest.mark.parametrize("policy", POLICIES)
def test_policies_say_what_they_lack(read, policy):
    fields = {"gamma": "0.5", "power": "2", "stepsize": "3", "stepvalue": "4"}
    base = BASE.replace("fixed", policy)
    whole = " ".join(f"{key}: {value}" for key, value in fields.items())
    assert read(whole, base).lr_policy == policy
    for missing in POLICIES[policy]:
        given = " ".join(f"{key}: {value}" for key, value in fields.items() if key != missing)
        with pytest.raises(ReadError, match=rf"{missing} is missing; (lr_policy '{policy}'|training) needs it"):
            read(given, base.replace("max_iter: 100\n", "" if missing == "max_iter" else "max_iter: 100\n"))


def test_other_policies(read):
    for policy, told in {"stepp": "did you mean 'step'", "cosine": "give one of fixed, step"}.items():
        with pytest.raises(
            ReadError, match=rf"solver.prototxt:3:1: lr_policy '{policy}' is not a policy of Caffe's; {told}"
        ):
            read(base=BASE.replace("fixed", policy))
    with pytest.raises(ReadError, match="has no lr_policy; give one of fixed"):
        read(base=BASE.replace('lr_policy: "fixed"\n', ""))
    with pytest.raises(ReadError, match="stepsize is 0; give 1 or more"):
        read("gamma: 0.1 stepsize: 0", BASE.replace("fixed", "step"))
    with pytest.raises(ReadError, match="gamma is -1.0; lr_policy 'exp' needs 0 or more"):
        read("gamma: -1", BASE.replace("fixed", "exp"))
    assert read("gamma: -1 stepsize: 9", BASE.replace("fixed", "sigmoid")).gamma == -1  # which makes it fall


@pytest.mark.parametrize("text", ["layer { name: 'a' }", "hello: 1"])
def test_other_files(read, text):
    with pytest.raises(ReadError, match="give the solver.prototxt"):
        read(text, "")
