"""A run: the stages one after the other, and its checkpoints."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from deepmerge.formats.read.weights import load_weights
from deepmerge.graph.costs import summary
from deepmerge.text import count
from deepmerge.train.recover import CUT, SOLVED, TRAINED
from deepmerge.train.recover.agreement import Judge
from deepmerge.train.recover.budget import LEAST, default_iterations, divided, measured_fits
from deepmerge.train.recover.images import sample
from deepmerge.train.recover.lsq import lsq
from deepmerge.train.recover.report import recovery_entry, solved_entry
from deepmerge.train.recover.solve import Fitting
from deepmerge.train.recover.spec import Context, StagePlan
from deepmerge.train.recover.stage import TrainedStage, bf16_is_accurate
from deepmerge.train.recover.trainer import Pace
from deepmerge.train.recover.turns import Turn, turns_of
from deepmerge.train.recover.write import Weights, arrays_of, weights_in, weights_of
from deepmerge.train.shared.checkpoint import Checkpoint, Paused, Saved

LSQ_IMAGES, REFIT_IMAGES = 1000, 4000
# refit's layers are nearly right already: it takes more images and smaller steps than lsq
REFIT = {"points": 30, "memory": 8 << 30, "strength": 1e-2}
# lsq's rounds where training follows: GoogLeNet's lsq takes half as long, and in 20 minutes training gains more by that
LITTLE = {"rounds": 8, "rows": 12_000}
SOLVED_SHARE = 0.4  # most of the time that is left for lsq or refit, before stages that train
JUDGING_SHARE = 0.04  # most of --minutes for one comparison with the original; it takes fewer images then
# share of images on which a network agrees that was trained before, or has lost little: lsq may do harm to it
WORKING = 0.8
WHOLE = ("refit", *TRAINED)  # stages that also change layers outside the segments; the steps' folders go without them


@dataclass
class State:
    """How far a run is; its checkpoint holds this.

    entries: the report's entries of the stages that are over. skipped: the stages that --minutes leaves no time for.
    notes: what else it cuts short. judging: seconds of the last comparison with the original. plans: of the stages that
    train, made when the first of them comes, and again after a turn of lsq; None for a stage without time. elapsed:
    seconds of earlier runs. safe: the weights after the last stage, which a stage that does harm is rolled back to.
    agreement: the last that was measured, None for networks without classes. reached: the first weights, with those
    that turns of lsq have found; {} before lsq.
    """

    safe: Weights
    agreement: float | None
    entries: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    judging: float = 0.0
    plans: dict[str, StagePlan | None] = field(default_factory=dict)
    elapsed: float = 0.0
    reached: Weights = field(default_factory=dict)


class Run:
    """One recovery: `context.merged` gets its weights stage by stage. started: when this run began, by the clock."""

    def __init__(self, context: Context, checkpoint: Checkpoint, started: float):
        self.context, self.checkpoint, self.started = context, checkpoint, started
        job, clock = context.job, context.settings.clock
        stop_at = None if job.stop_after is None else self.started + 60 * job.stop_after
        self.pace = Pace(clock, job.checkpoint_seconds, context.settings.saving_factor, stop_at, self.started)
        self.turns = turns_of(context)
        self._unreadable: list[str] = []
        options = {"engine": "ort"} if job.device == "cpu" else {"engine": "torch", "device": job.device}
        self.judge = Judge(context.original, context.sources.input, self._judged, context.threads, **options)
        self.judge.clock = clock
        if job.minutes is not None:
            self.judge.limit = 60 * job.minutes * JUDGING_SHARE
        saved = checkpoint.load()
        if saved is None:
            self.under_way: Saved | None = None
            self.state = State(weights_of(context.merged), None)
            self.state.agreement = self._agreement()
        else:
            self.under_way = self._restore(saved)
        self._leave_out_lsq()

    def all_stages(self) -> None:
        """Run the stages that the checkpoint does not have, and that there is time for."""
        while turns := self._left():
            turn = turns[0]
            entry = self._solve(turn) if turn.stage in SOLVED else self._train(turn.stage)
            self.under_way = None
            if entry is None:
                self.state.skipped.append(turn.stage)
            else:
                self._finish(turn, entry)
        self._compare_last()

    def _compare_last(self) -> None:
        """Compare with the original at the end, if that was left to a turn of lsq for which there was no time."""
        state = self.state
        kept = [entry for entry in state.entries if not entry.get("undone")]
        if kept and state.agreement is not None and "agreement_after" not in kept[-1]:
            before, state.agreement = state.agreement, self._agreement()
            kept[-1] |= {"agreement_before": before, "agreement_after": state.agreement}

    def _left(self) -> list[Turn]:
        """Return the turn under way and those after it."""
        return self.turns[len(self.state.entries) + len(self.state.skipped) :]

    def _left_to_train(self) -> list[str]:
        return [turn.stage for turn in self._left() if turn.stage in TRAINED]

    def _seconds_left(self) -> float:
        """Return the seconds for the stages that are left, without the comparisons after them."""
        minutes = self.context.job.minutes
        if minutes is None:
            return math.inf
        return 60 * minutes - self.elapsed - self.state.judging * len(self._left())

    def _seconds_to_train(self) -> float:
        """Return the seconds for the stages that train. Segments that are left will take as long as others took."""
        took = [entry for entry in self.state.entries if entry["name"] == "lsq"]
        each = sum(entry["seconds"] for entry in took) / max(1, sum(len(entry["segments"]) for entry in took))
        waiting = sum(len(turn.segments) for turn in self._left() if turn.stage == "lsq")
        return self._seconds_left() - waiting * each

    def recovery(self, previous: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return the report's "recovery". previous: that of an earlier recovery."""
        job, sources = self.context.job, self.context.sources
        warnings = [*sources.notes, *self.state.notes]
        warnings += [f"--minutes left no time for the stage {name}" for name in dict.fromkeys(self.state.skipped)]
        if self.context.cut is None:
            stages = [name for name in job.stages if name in CUT]
            warnings += [f"the network has no blob to cut it at, so there is no stage {name}" for name in stages]
        skipped = list(dict.fromkeys(self._unreadable + sources.skipped))
        if skipped:
            were = "was" if len(skipped) == 1 else "were"
            lost = f"{count(len(skipped), 'image')} could not be read and {were} left out"
            warnings.append(f"{lost}: {skipped[0]}")
        asked = {
            "seed": job.seed,
            "images": sources.train.count,
            "held_out": min(sources.held_out, self.judge.images),
            "device": job.device,
            "threads": self.context.threads,
            "warnings": warnings,
        }
        entry = recovery_entry(self.state.entries, asked, self.state.agreement)
        return entry | ({"previous": previous} if previous else {})

    @property
    def elapsed(self) -> float:
        """Seconds that all runs of the job took so far, without the pauses between them."""
        return self.state.elapsed + self.context.settings.clock() - self.started

    # -- stages ----------------------------------------------------------------------------------

    def _solve(self, turn: Turn) -> dict[str, Any] | None:
        """Run lsq or refit, and return its entry; None if there was no time for it."""
        context, clock, (name, segments) = self.context, self.context.settings.clock, turn
        start = clock()
        end = start + self._seconds_left() * self._share(turn)
        images, how = self._how(name)
        loader = sample(context.sources, images)

        def feeds() -> Iterator[dict[str, np.ndarray]]:
            return ({context.sources.input: batch.data} for batch in loader.once())

        options = Fitting(
            seed=context.job.seed, threads=context.threads, over=lambda more: clock() + more >= end, **how
        )
        solved = lsq(context.original, context.merged, segments, feeds, options, context.progress)
        self._unreadable += loader.skipped
        if segments and not solved:
            return None
        entry = solved_entry(name, solved, clock() - start, loader.count)
        if len(solved) < len(segments):
            entry["segments_left"] = len(segments) - len(solved)
            text = f"--minutes left {name} time for {len(solved)} of {len(segments)} segments"
            self.state.notes.append(f"{text}; the others keep their weights")
        return entry

    def _how(self, stage: str) -> tuple[int, dict[str, Any]]:
        """Return how many images lsq or refit takes, and its own options."""
        if stage == "refit":
            return REFIT_IMAGES, REFIT
        return LSQ_IMAGES, LITTLE if self._left_to_train() else {}

    def _share(self, turn: Turn) -> float:
        """Return the largest share of the time left for a turn that solves.

        Segments that front has left to a second turn of lsq still have what convert gave them: they come first.
        """
        again = turn.stage == "lsq" and any(entry["name"] == "lsq" for entry in self.state.entries)
        return 1 if again or not self._left_to_train() else SOLVED_SHARE

    def _train(self, name: str) -> dict[str, Any] | None:
        """Run a stage that trains, and return its entry; None if there is no time for it."""
        state, clock = self.state, self.context.settings.clock
        if name not in state.plans:
            self._plan()
            self.save(f"the start of stage {name}")  # so that speed is not measured again
        plan = state.plans[name]
        if plan is None:
            return None
        left = [stage for stage in self._left_to_train() if state.plans[stage] is not None]
        spent = self.under_way.meta["seconds"] if self.under_way else 0.0  # of its share, in earlier runs
        end = clock() - spent + (self._seconds_to_train() + spent) / len(left)
        stage = TrainedStage(self.context, plan, self.checkpoint.folder, self.under_way)
        stage.run(self.pace, self.save, end)
        entry = stage.entry()
        if entry["iterations"] < (LEAST if plan.timed else plan.iterations):
            text = f"the time for {name} (--minutes) was up at iteration {entry['iterations']}"
            state.notes.append(text if plan.timed else f"{text} of {plan.iterations}")
        return entry

    def _plan(self) -> None:
        """Plan all stages that are left to train."""
        context, job, plans, left = self.context, self.context.job, self.state.plans, self._left_to_train()
        bf16 = bf16_is_accurate(context, left[0]) if job.precision == "auto" else job.precision == "bf16"
        macs = summary(context.original)["macs"], summary(context.merged)["macs"]
        iterations = default_iterations([turn.stage for turn in self.turns], job.batch_size, macs)
        if job.minutes is not None:
            context.progress("measuring the speed", 0, 1)
            seconds, least = self._seconds_to_train(), context.settings.measured_seconds
            fed = left if seconds >= least * len(left) else []  # they starve in any case
            fits = measured_fits(context, fed, bf16)
            iterations = divided(self._seconds_to_train(), fits)
        iterations |= job.counts
        for name in left:
            before = sum(plan.iterations for plan in plans.values() if plan)
            timed = job.minutes is not None and name not in job.counts
            plans[name] = StagePlan(name, iterations[name], before, bf16, timed) if name in iterations else None

    def _finish(self, turn: Turn, entry: dict[str, Any]) -> None:
        """End a stage; roll it back if it has done harm."""
        state, merged, before = self.state, self.context.merged, self.state.agreement
        unsolved = any(later.stage == "lsq" for later in self._left()[1:])
        if not state.reached and (unsolved or turn.stage == "lsq"):
            state.reached = state.safe  # without what front makes of layers together: a step has only some of them
        if unsolved and not works(before):  # until then, agreement means nothing
            after, undone = before, entry["loss_after"] > entry["loss_before"]
        else:
            after, undone = self._agreement(), entry["loss_after"] > entry["loss_before"]
            if after is not None:
                entry |= {"agreement_before": before, "agreement_after": after}
                undone = did_harm(entry, before, self.judge.images)
        if undone:
            entry["undone"] = True
            load_weights(merged, state.safe, misfits="skip")
        else:
            state.safe, state.agreement = weights_of(merged), after
        state.entries.append(entry)
        self._leave_out_lsq()
        if turn.stage == "lsq":
            found = weights_of(merged)
            mine = {name: found[name] for segment in turn.segments for name in segment.trained}
            state.reached = state.reached | mine
            left = self._left_to_train()  # their time is another now
            state.plans = {name: plan for name, plan in state.plans.items() if name not in left}
        self.save(f"the end of stage {turn.stage}")
        if self.pace.is_over() and self._left():
            raise Paused

    def _leave_out_lsq(self) -> None:
        """Leave out the second turn of lsq if the first did harm: it solves for the same values."""
        entries = self.state.entries
        if entries and lsq_does_harm(entries[0]):
            self.turns = [self.turns[0], *(turn for turn in self.turns[1:] if turn.stage != "lsq")]

    def _agreement(self) -> float | None:
        """Return the merged network's agreement with the original."""
        self.context.progress("comparing with the original", 0, 1)
        agreement = self.judge.agreement(self.context.merged)
        self.state.judging = self.judge.seconds
        return agreement

    def _judged(self) -> Iterator[np.ndarray]:
        return (batch.data for batch in self.context.sources.judge.once())

    # -- checkpoints -----------------------------------------------------------------------------

    def save(
        self, what: str, arrays: Mapping[str, np.ndarray] = {}, under_way: Mapping[str, Any] | None = None
    ) -> None:
        """Write a checkpoint. arrays, under_way: the state of a stage that is not over."""
        state = self.state
        weights = {"weights": weights_of(self.context.merged), "reached": state.reached, "safe": state.safe}
        kept: dict[str, np.ndarray] = {}
        for kind, blobs in weights.items():
            kept |= arrays_of(blobs, kind)
        meta = {
            "entries": state.entries,
            "skipped": state.skipped,
            "notes": state.notes,
            "judging": state.judging,
            "judged": self.judge.images,
            "plans": {name: plan and asdict(plan) for name, plan in state.plans.items()},
            "elapsed": self.elapsed,
            "agreement": state.agreement,
            "under_way": under_way,
        }
        with self.pace.saving():
            self.checkpoint.save(what, {**kept, **arrays}, meta)

    def _restore(self, saved: Saved) -> Saved | None:
        """Continue from a checkpoint; return what the stage under way needs, None if there is none."""
        arrays, meta = saved
        self.judge.images = meta["judged"]
        load_weights(self.context.merged, weights_in(arrays, "weights"), misfits="skip")
        precision = self.context.job.precision
        plans = {name: plan and StagePlan(**plan) for name, plan in meta["plans"].items()}
        if precision != "auto":
            plans = {name: plan and replace(plan, bf16=precision == "bf16") for name, plan in plans.items()}
        self.state = State(
            safe=weights_in(arrays, "safe"),
            agreement=meta["agreement"],
            entries=meta["entries"],
            skipped=meta["skipped"],
            notes=meta["notes"],
            judging=meta["judging"],
            plans=plans,
            elapsed=meta["elapsed"],
            reached=weights_in(arrays, "reached"),
        )
        return None if meta["under_way"] is None else Saved(arrays, meta["under_way"])


def works(agreement: float | None) -> bool:
    """Return whether a network agrees with the original on so many images that fewer mean harm."""
    return agreement is not None and agreement >= WORKING


def lsq_does_harm(entry: Mapping[str, Any]) -> bool:
    """Return whether an entry is of an lsq that was complete, and undone on a network that worked before."""
    complete = entry["name"] == "lsq" and not entry.get("segments_left")
    return bool(complete and entry.get("undone") and works(entry.get("agreement_before")))


def did_harm(entry: Mapping[str, Any], before: float, images: int) -> bool:
    """Return whether a stage is to be rolled back: fewer images agree than `before`, as a share of them.

    Where the loss of refit or of a stage that trains fell, a standard error is allowed: the loss counts everything that
    the network says about an image, the agreement only its first class. lsq solves each segment for the errors of those
    before it, and counts when it is complete: it is rolled back only if --minutes has cut it short, or if the network
    worked before. One that was trained has found other values for itself than the original's, for which lsq solves.
    """
    if entry["name"] == "lsq" and not entry.get("segments_left") and not works(before):
        return False
    gained = entry["name"] in WHOLE and entry["loss_after"] < entry["loss_before"]
    allowed = math.sqrt(before * (1 - before) / images) if gained else 0.0
    return entry["agreement_after"] < before - allowed
