"""The loop: rates that are too large, and the schedule within a time."""

from __future__ import annotations

from collections import deque
from dataclasses import asdict, dataclass, field

import numpy as np
import pytest

from deepmerge.errors import TrainingError
from deepmerge.train.finetune.learner import Learner
from deepmerge.train.finetune.log import TrainingLog
from deepmerge.train.finetune.loop import Control, Loop
from deepmerge.train.shared.checkpoint import Paused
from deepmerge.train.shared.processes import Processes
from tests.train.finetune.small import solver


class Unstable(Learner):
    """Its weight counts the iterations; the loss is NaN from iteration `from_` on at more than `bears` times the rate."""

    batch_size, count, skipped, tests, test_count, notes = 1, 1, [], 0, 0, []

    def __init__(self, bears: float, from_: int):
        self.bears, self.from_, self.weight, self.loaded, self.saved = bears, from_, 0.0, [], []

    def load(self, arrays, iteration):
        self.weight = float(arrays["weights/w"][0]) if arrays else 0.0
        self.loaded.append((iteration, self.slowed))

    def state(self):
        return {"weights/w": np.array([self.weight])}

    def step(self, most, position):
        spoilt = self.slowed > self.bears and self.weight >= self.from_
        self.weight = float("nan") if spoilt else self.weight + 1
        return [float("nan") if spoilt else 1.0]

    def test(self, whole, most=None):
        return []

    def trained(self):
        raise NotImplementedError

    def spoilt(self):
        return "w" if np.isnan(self.weight) else ""

    def save(self, path):
        path.touch()
        self.saved.append(path.name)


def trained(learner: Unstable, tmp_path, arrays=None, log=None, **fields) -> tuple[TrainingLog, list[str]]:
    usual = {"snapshot": 0, "snapshot_after_train": False, "display": 0, "max_iter": 500}
    lines: list[str] = []
    control = Control(
        save=lambda arrays, log: None, snapshots=tmp_path, say=lines.append, trial=fields.pop("trial", False)
    )
    return Loop(solver(**usual | fields), learner, control, arrays, log).run(), lines


def test_nan_goes_back_to_kept_weights_at_a_smaller_rate(tmp_path):
    learner = Unstable(0.1, 450)
    log, lines = trained(learner, tmp_path)
    assert learner.loaded == [(0, 1.0), (400, 0.25), (400, 0.0625)] and learner.weight == 500
    assert log.iteration == 500 and log.slowed == 0.0625 and log.notes == lines
    assert (
        lines[0]
        == "iteration 450: the loss or the weights are not finite; back to iteration 400 at 0.25 times the rate"
    )


def test_after_three_times_it_gives_up(tmp_path):
    learner = Unstable(0.0, 5)
    with pytest.raises(TrainingError, match=r"iteration 5: training diverged .*the learning rate is 0.00156: lower it"):
        trained(learner, tmp_path)
    assert [slowed for _, slowed in learner.loaded] == [1.0, 0.25, 0.0625, 0.015625]


def test_a_run_that_goes_on_at_a_raised_loss_can_go_back(tmp_path):
    learner = Unstable(0.5, 260)
    log = {"iteration": 250, "position": 250.0, "first": 0.4, "smoothed": 5.0, "recent": [5.0]}
    trained(learner, tmp_path, {"weights/w": np.array([250.0])}, log)
    assert learner.loaded == [(250, 1.0), (250, 0.25)] and learner.weight == 500


def test_a_checkpoint_from_before_rates_were_tried_goes_on(tmp_path):
    """Its log has no field for that; its weights are trained already, so that nothing is tried any more."""
    learner, before = Unstable(1.0, 500), asdict(TrainingLog(250, 250.0, first=1.0, smoothed=1.0, recent=[1.0]))
    del before["tried"]
    log, lines = trained(learner, tmp_path, {"weights/w": np.array([250.0])}, before, trial=True)
    assert learner.loaded == [(250, 1.0)] and learner.weight == log.iteration == 500 and not lines


class Overflowing(Unstable):
    """Its weight is lost in the update of iteration `from_`, and its loss stays finite."""

    def step(self, most, position):
        spoilt = self.slowed > self.bears and self.weight + 1 == self.from_
        self.weight = float("nan") if spoilt else self.weight + 1
        return [1.0]


@pytest.mark.parametrize(("lost", "back"), [(200, 0), (500, 400)])
def test_weights_that_are_lost_are_neither_kept_nor_the_result(tmp_path, lost, back):
    learner = Overflowing(0.5, lost)
    log, (line,) = trained(learner, tmp_path)
    assert learner.loaded == [(0, 1.0), (back, 0.25)] and learner.weight == log.iteration == 500
    assert line.startswith(f"iteration {lost}: the loss or the weights are not finite; back to iteration {back} at")


@dataclass(frozen=True)
class Told(Processes):
    """The second process hears afterwards what the first one has said."""

    said: deque = field(default_factory=deque)

    def from_first(self, value):
        if not self.first:
            return self.said.popleft()
        self.said.append(value)
        return value


def test_all_processes_go_back_together(tmp_path):
    """Only the first one sees that the weights are lost; it alone writes."""
    said, saves = deque(), []
    learners = [Overflowing(0.5, 4), Overflowing(1.0, 4)]
    for rank, learner in enumerate(learners):
        control = Control(
            lambda arrays, log, rank=rank: saves.append(rank), tmp_path, processes=Told(rank, 2, said=said)
        )
        Loop(solver(snapshot_after_train=True), learner, control).run()
    assert [learner.loaded for learner in learners] == [[(0, 1.0), (0, 0.25)]] * 2
    assert not said and set(saves) == {0} and not learners[1].saved


class Late(Unstable):
    """Follows the clock, which an iteration moves on by a second."""

    now = 0.0

    def step(self, most, position):
        self.now += 1
        return super().step(most, position)


def test_a_run_that_goes_back_deletes_its_snapshots_from_there_on(tmp_path):
    """The time ends before the snapshot's iteration comes again. The checkpoint goes back, too."""
    learner, saves = Late(0.5, 6), []
    control = Control(lambda arrays, log: saves.append(log["iteration"]), tmp_path, clock=lambda: learner.now, end=8.0)
    log = Loop(solver(snapshot_after_train=False), learner, control).run()
    assert learner.saved == ["mine_iter_4.caffemodel.partial"] and not list(tmp_path.iterdir())
    assert log.iteration == 1 and saves == [4, 0, 1]


def test_a_trial_finds_a_rate_that_it_bears_and_changes_no_weight(tmp_path):
    learner = Unstable(0.1, 3)
    log, (line,) = trained(learner, tmp_path, trial=True)
    assert learner.loaded == [(0, 1.0), (0, 0.25), (0, 0.0625), (0, 0.0625)] and learner.weight == 500
    assert line == "the learning rate is 0.00625: a larger one raised the loss in a trial" and log.notes == [line]
    learner = Unstable(1.0, 3)
    assert trained(learner, tmp_path, trial=True)[1] == [] and learner.weight == 500


def test_a_trial_is_made_once(tmp_path):
    """Also where the run was paused at its beginning, or went back to it."""
    learner, saved = Unstable(0.1, 3), []
    control = Control(lambda arrays, log: saved.append(log), tmp_path, pause_at=0.0, trial=True)
    fields = {"snapshot": 0, "display": 0, "max_iter": 500}
    with pytest.raises(Paused):
        Loop(solver(**fields), learner, control).run()
    learner.loaded.clear()
    log, lines = trained(learner, tmp_path, {"weights/w": np.array([0.0])}, saved[-1], trial=True)
    assert learner.loaded == [(0, 0.0625)] and len(log.notes) == 1 and lines == []
    log, _ = trained(Unstable(0.5, 100), tmp_path, trial=True)
    assert log.backs == 1 and log.tried


def test_a_short_training_has_no_trial(tmp_path):
    learner = Unstable(1.0, 3)
    trained(learner, tmp_path, trial=True, max_iter=200)
    assert learner.loaded == [(0, 1.0)]


class Timed(Unstable):
    """Follows the clock, which an iteration moves on by a second."""

    timed = True

    def __init__(self):
        super().__init__(1.0, 0)
        self.now, self.positions = 0.0, []

    def step(self, most, position):
        self.now += 1
        self.positions.append(position)
        return super().step(most, position)

    tests, test_count = 1, 10

    def test(self, whole, most=None):
        """A batch of one image takes a quarter of a second."""
        images = self.test_count if whole and most is None else most or 1
        self.now += 0.25 * images
        return [{"accuracy": 0.5, "images": images}]


def timed(learner: Timed, tmp_path, log=None, saved=None, **control) -> TrainingLog:
    saved = [] if saved is None else saved
    keep = Control(lambda arrays, log: saved.append(log), tmp_path, clock=lambda: learner.now, **control)
    usual = {"snapshot": 0, "snapshot_after_train": False, "test_interval": 0, "lr_policy": "poly", "power": 1}
    return Loop(solver(**usual | (log or {}).pop("solver", {})), learner, keep, log=log).run()


@pytest.mark.parametrize(
    ("seconds", "positions"),
    [
        (8.0, [0, 1, 3, 5, 7, 9]),  # two are for the tests, and six iterations
        (20.0, list(range(10))),  # the solver's own
    ],
)
def test_the_schedule_is_shortened_to_the_time(tmp_path, seconds, positions):
    learner = Timed()
    log = timed(learner, tmp_path, end=seconds)
    assert learner.positions == positions
    ended = "the time was up at iteration 6 of 10; its learning rate had come to 0.01"
    assert log.stopped == ("" if seconds == 20 else ended)


def test_tests_in_between_do_not_end_it_early(tmp_path):
    learner = Timed()
    fields = {"test_interval": 1, "test_initialization": True, "max_iter": 1000}
    log = timed(learner, tmp_path, {"solver": fields}, end=60.0)
    assert learner.positions[-1] == 999 and learner.now <= 60 and len(log.tests) > 10
    assert learner.positions == sorted(learner.positions)


def test_a_resumed_run_stays_within_the_schedule(tmp_path):
    """Its first iteration is not timed, so the schedule does not heed it."""
    learner = Timed()
    timed(learner, tmp_path, {"iteration": 5, "position": 9.0}, end=100.0)
    assert learner.positions == [9] * 5


def test_a_resumed_run_goes_on_where_it_was(tmp_path):
    learner, saved = Timed(), []
    with pytest.raises(Paused):
        timed(learner, tmp_path, {"solver": {"max_iter": 1000}}, saved, end=60.0, pause_at=30.0)
    learner.now += 500.0  # nobody counts these
    timed(learner, tmp_path, saved[-1] | {"solver": {"max_iter": 1000}}, end=560.0)
    steps = sorted(np.diff(learner.positions[3:]))
    assert learner.positions[-1] == 999
    assert steps[0] == 1 and steps[-1] - steps[1] <= 3  # the first iteration after the pause is not timed
