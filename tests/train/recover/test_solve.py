"""Solutions are judged on held-out images, and weights stay where these are no better."""

from __future__ import annotations

import numpy as np
import pytest

from deepmerge.graph.shapes import infer_shapes
from deepmerge.train.recover.layer_inputs import tile
from deepmerge.train.recover.linear import chain_of, last_layers
from deepmerge.train.recover.solve import Fitting, Problem, Several, Single, task_for
from tests.helpers import conv, inputs, network, relu


def tasks(tmp_path, text, points=9, size=(3, 3)):
    graph = network(tmp_path, inputs((1, 3, 9, 8)) + text)
    shapes, trained = infer_shapes(graph), {one.name for one in graph.layers if one.weights}
    lasts = last_layers(graph.outputs[0], trained, shapes)
    return (
        graph,
        [task_for(last, chain_of(last, trained, shapes), shapes, points, size) for last in lasts],
        shapes[graph.outputs[0]][1:],
    )


def gathered(task, shape, images=20, seed=0):
    """Fills the task with noise, and gives as many targets that have nothing to do with it."""
    rng = np.random.default_rng(seed)
    bottom = rng.normal(size=(images, 3, 9, 8)).astype(np.float32)
    where = np.stack([tile(shape, 9, [seed, image]) for image in range(images)])
    task.gather(bottom[:7], where[:7])
    task.gather(bottom[7:], where[7:])
    return np.maximum(rng.normal(size=(where.size, shape[0])), 0).astype(np.float32)


@pytest.mark.parametrize(
    "text",
    [
        conv("c", "data", 4, "kernel_size: 3") + relu("c"),
        conv("r", "data", 5) + relu("r") + conv("c", "r", 4, "kernel_size: 3") + relu("c"),
    ],
)
def test_what_does_no_better_on_the_images_held_out_is_not_kept(tmp_path, text):
    """The targets held out are what the layers make already, those learned from are noise."""
    graph, (task,), shape = tasks(tmp_path, text)
    assert isinstance(task, Several if "r" in [one.name for one in graph.layers] else Single)
    target = gathered(task, shape)
    held = np.arange(20) % 5 == 4
    from deepmerge.engines import engine

    bottom = np.random.default_rng(0).normal(size=(20, 3, 9, 8)).astype(np.float32)
    made = engine().load(graph).forward({"data": bottom}, ["c"])["c"].reshape(20, 4, -1)
    for image in np.flatnonzero(held):
        target[image * 9 : image * 9 + 9] = made[image][:, tile(shape, 9, [0, image])].T
    arrays = {one.name: list(one.weights) for one in graph.layers}
    outcome = task.solve(target, held, Fitting(rounds=3))
    assert outcome.changed == () and outcome.after == outcome.before < 1e-6
    assert all(a is b for one in graph.layers for a, b in zip(one.weights, arrays[one.name], strict=True))


def test_the_strength_that_does_best_outside_is_taken_where_rows_are_few():
    """30 rows of 40 inputs, of which one matters: the weakest ridge learns the noise by heart."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(600, 40)).astype(np.float32)
    target = (x[:, :1] + rng.normal(size=(600, 1))).astype(np.float32)
    held = np.arange(600) >= 30
    start = np.zeros((40, 1))
    start[0] = 1.0
    problem = Problem(x, target, None, False, held)
    weight, error = problem.best(start, Fitting(iterations=10))
    assert problem.error(weight) == error < 1.2 * problem.error(start)


def test_outcome_is_the_error_after_the_activation(tmp_path):
    graph, (task,), shape = tasks(tmp_path, conv("c", "data", 4, "kernel_size: 3") + relu("c"))
    target, held = gathered(task, shape), np.arange(20) % 5 == 4
    outcome = task.solve(target, held, Fitting())
    assert outcome.changed == ("c",) and 0 < outcome.after < outcome.before


def test_memory_is_told_beforehand(tmp_path):
    _, (task,), shape = tasks(tmp_path, conv("c", "data", 4, "kernel_size: 3"))
    gathered(task, shape)
    assert abs(sum(rows.size for rows in task.rows) / 20 - task.floats) <= 9
    _, (task,), shape = tasks(tmp_path, conv("r", "data", 5) + conv("c", "r", 4, "kernel_size: 3"))
    gathered(task, shape)
    held = sum(tiles.size + valid.size for tiles, valid in task.tiles) / 20
    assert held <= task.floats <= held + 9 * (5 * 9 + 1)


@pytest.mark.parametrize(
    "text",
    [conv("c", "data", 4, "kernel_size: 3"), conv("r", "data", 5) + relu("r") + conv("c", "r", 4, "kernel_size: 3")],
)
def test_an_image_that_is_not_a_number_changes_nothing(tmp_path, text):
    graph, (task,), shape = tasks(tmp_path, text)
    target = gathered(task, shape)
    target[:9] = np.nan
    before = [array.copy() for one in graph.layers for array in one.weights]
    outcome = task.solve(target, np.arange(20) % 5 == 4, Fitting())
    assert outcome.changed == () and np.isfinite(outcome.after)
    assert all(
        np.array_equal(a, b) for a, b in zip(before, (w for one in graph.layers for w in one.weights), strict=True)
    )
