"""Which networks are fine-tuned, in which order, and the weights that each starts from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from deepmerge.errors import PlanError, ReadError
from deepmerge.out.read import read_converted
from deepmerge.train.finetune.spec import plan_stages, solver_tests
from tests.helpers import conv, inputs, network

BEFORE = Path("before.caffemodel")


@pytest.fixture
def converted(made):
    return read_converted(made / "out")


def test_the_final_network_at_once(converted):
    (stage,) = plan_stages(converted, None, {"base_lr": "0.5"})
    assert (stage.name, stage.folder, stage.pair) == ("", Path(), converted.final)
    assert stage.solver.base_lr == 0.5 and stage.starts_from(None) == [converted.final.caffemodel]


def test_a_solver_without_tests_is_tested_with_its_training_network(converted):
    (stage,) = plan_stages(converted, None, {})
    (test,) = stage.solver.tests
    assert solver_tests(stage.solver) == (test,)
    assert solver_tests(replace(stage.solver, tests=())) == ((stage.solver.train, 0),)


def test_all_steps_each_from_the_one_before(converted):
    first, second = plan_stages(converted, "all", {})
    assert (first.name, second.name) == ("conv1", "conv2") and first.solver and second.solver
    assert first.starts_from(None) == [first.pair.caffemodel]
    own, *later = second.starts_from(BEFORE)
    assert list(own) == ["conv1", "conv2", "fc"] and later == [BEFORE, second.new_layers]


def test_a_step_after_those_asked_for_is_not_trained(converted):
    first, second = plan_stages(converted, "conv1", {})
    assert first.solver is not None and second.solver is None


def test_a_step_before_those_asked_for_is_left_out(converted):
    (second,) = plan_stages(converted, "conv2", {})
    (own,) = second.starts_from(BEFORE)
    assert second.first and list(own) == ["conv1", "conv2", "fc"]


def test_no_such_step(converted):
    with pytest.raises(PlanError, match="there is no step 'conv9'"):
        plan_stages(converted, "conv9", {})
    with pytest.raises(PlanError, match="--steps ',' names no step; leave it out to fine-tune the final network"):
        plan_stages(converted, ",", {})


def test_the_images_shape(converted, tmp_path):
    (stage,) = plan_stages(converted, None, {})
    assert stage.image_shape(stage.pair.read()) == (3, 9, 7)
    two = network(tmp_path, inputs((1, 3, 9, 7), (1, 2)) + conv("a", "data", 4))
    with pytest.raises(ReadError, match=r"has 2 inputs \(data, data1\), and only images can be fed"):
        stage.image_shape(two)
