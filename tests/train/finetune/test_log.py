"""What is displayed, tested and saved when, as Caffe's solver does."""

from __future__ import annotations

import pytest

from deepmerge.errors import TrainingError
from deepmerge.train.finetune.log import TrainingLog
from tests.train.finetune.small import solver


def logged(losses, **fields) -> tuple[TrainingLog, list[str]]:
    log, lines = TrainingLog(), []
    for loss in losses:
        log.add_iteration(solver(**fields), loss, f"iteration {log.iteration}", lines.append)
    return log, lines


def test_displayed_losses_are_means_of_the_last_ones():
    log, lines = logged([8.0, 4.0, 3.0, 2.0, 1.0])
    assert (log.iteration, log.first, log.smoothed) == (5, 8.0, 2.0)
    assert log.losses == [[0, 8.0], [2, 5.0], [4, 2.0]]
    assert lines[1] == "iteration 2 of 10: loss 5, learning rate 0.1"


def test_without_a_display_nothing_is_said():
    log, lines = logged([1.0, 1.0], display=0)
    assert log.losses == lines == []


def test_a_loss_that_is_not_finite_ends_training():
    with pytest.raises(TrainingError, match=r"iteration 1: training diverged .*the learning rate is 0.1: lower it"):
        logged([1.0, float("inf")])


def test_past_the_schedule_the_rate_is_its_last_one():
    rising = solver(lr_policy="poly", power=-1)
    assert [TrainingLog(9, position).rate(rising) for position in (9.0, 10.0)] == pytest.approx([1.0, 1.0])


@pytest.mark.parametrize(
    ("iteration", "initial", "last", "due"),
    [
        (0, False, False, False),
        (0, True, False, True),
        (3, True, False, False),
        (3, False, True, True),
        (5, False, False, True),
    ],
)
def test_tests_are_due_at_their_interval_and_at_the_end(iteration, initial, last, due):
    assert TrainingLog(iteration).test_is_due(solver(test_initialization=initial), last) is due


def test_a_test_is_done_once_but_again_on_all_images():
    log = TrainingLog(5)
    log.add_test(0, False, {"accuracy": 0.5, "images": 12})
    assert log.tests == [{"iteration": 5, "test": 0, "all": False, "accuracy": 0.5, "images": 12}]
    assert not log.test_is_due(solver(), last=False) and log.test_is_due(solver(), last=True)
    log.add_test(0, True, {"accuracy": 0.6, "images": 20})
    assert not log.test_is_due(solver(), last=True)


def test_snapshots():
    assert [n for n in range(1, 10) if TrainingLog(n).snapshot_is_due(solver())] == [4, 8]
    assert not TrainingLog(4).snapshot_is_due(solver(snapshot=0))
    assert TrainingLog(4).snapshot_name(solver()) == "mine_iter_4.caffemodel"
    assert TrainingLog(4).snapshot_name(solver(snapshot_prefix="")) == "snapshot_iter_4.caffemodel"
