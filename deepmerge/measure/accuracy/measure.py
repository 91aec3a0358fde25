"""One pass over the images: compare the answers of several networks with the labels and with another network."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from deepmerge.data import Loader
from deepmerge.errors import GraphError, SourceError
from deepmerge.measure.accuracy.accuracy import Accuracy, Drop, sensible_tops
from deepmerge.measure.accuracy.agreement import Agreement
from deepmerge.measure.accuracy.scores import Network, Runner
from deepmerge.progress import Progress, silent

if TYPE_CHECKING:
    from deepmerge.engines.base import Engine

TOP = (1, 5)


@dataclass(frozen=True)
class Settings:
    """What to measure. top: the k of top-k accuracy. output: the blob of scores, None for the only one that can be it.

    mirror: take the mean of an image's scores and those of its mirror image. per_class: report each class, too.
    """

    top: Sequence[int] = TOP
    output: str | None = None
    per_class: bool = False
    mirror: bool = False
    engine: str | Engine = "ort"
    threads: int = 1


def measure(
    networks: Sequence[Network],
    loader: Loader,
    settings: Settings = Settings(),
    against: Network | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Run all networks on each image of `loader` once.

    A network is a Graph (loaded into the engine), an open Session, or a function from images (N, C, H, W) to scores (N,
    classes). against: the network whose answers count as right. Labels are used if the images have them.

    Keys: images (how many were read), skipped (why others were not, one line each), classes, notes (lines for the
    user), seconds, networks and against. Their entries have output, top ({k: share right}, None without labels), error
    (its standard errors), drop (what is lost against `against`, see Drop; None without it or without labels), per_class
    (see Accuracy.per_class; None unless asked for) and agreement (see Agreement; None without `against`).
    Raises SourceError for a label that is not a class; GraphError for a network without one score for each class.
    """
    start = time.perf_counter()
    with ExitStack() as stack:
        every = [*networks, against] if against is not None else list(networks)
        runners = [
            stack.enter_context(Runner(network, settings.output, settings.engine, settings.threads))
            for network in every
        ]
        figures, notes = _Figures(len(networks), against is not None, settings.top), []
        for batch in loader.once():
            progress("images", figures.images, loader.count)
            scores = [_scores(runner, batch.data, settings.mirror) for runner in runners]
            notes += figures.add(scores, batch.labels)
    names = loader.images.classes
    if names and len(names) != figures.classes:
        found = f"the images have {len(names)} classes and the network {figures.classes}"
        notes.append(f"{found}; check that these are images for this network")
    notes += figures.nan_notes()
    entries = [figures.entry(i, runner.output, settings.per_class, names) for i, runner in enumerate(runners)]
    return {
        "images": figures.images,
        "skipped": loader.skipped,
        "classes": figures.classes,
        "notes": notes,
        "seconds": time.perf_counter() - start,
        "networks": entries[: len(networks)],
        "against": entries[-1] if against is not None else None,
    }


def _scores(runner: Runner, data: np.ndarray, mirror: bool) -> np.ndarray:
    scores = runner(data)
    if not mirror or data.ndim != 4:
        return scores
    return (scores + runner(np.ascontiguousarray(data[..., ::-1]))) / np.float32(2)


class _Figures:
    """The counts of each network; the last one is that which the others are compared with, if there is one."""

    def __init__(self, networks: int, against: bool, top: Sequence[int]):
        self.agreements = [Agreement() for _ in range(networks)] if against else []
        self.asked, self.count = top, networks + against
        self.accuracies: list[Accuracy] | None = None
        self.drops: list[Drop] = []
        self.images = self.classes = 0
        self.nans = [0] * self.count

    def add(self, scores: list[np.ndarray], labels: np.ndarray | None) -> list[str]:
        notes = [] if self.images else self._begin(scores, labels)
        self.images += len(scores[0])
        for index, one in enumerate(scores):
            self.nans[index] += int(np.isnan(one).any(axis=1).sum())
        if self.accuracies is not None:
            if labels is None:
                raise SourceError("some images have labels and some have none; give all of them labels, or none")
            self._check(labels)
            right = [accuracy.add(one, labels) for accuracy, one in zip(self.accuracies, scores, strict=True)]
            for drop, one in zip(self.drops, right, strict=False):
                drop.add(one, right[-1])
        for agreement, one in zip(self.agreements, scores, strict=False):
            agreement.add(one, scores[-1])
        return notes

    def _begin(self, scores: list[np.ndarray], labels: np.ndarray | None) -> list[str]:
        counts = [one.shape[1] for one in scores]
        if len(set(counts)) > 1:
            raise GraphError(
                f"the networks cannot be compared: they have {' and '.join(map(str, dict.fromkeys(counts)))} classes"
            )
        self.classes = counts[0]
        if labels is None:
            return []
        tops, notes = sensible_tops(self.asked, self.classes)
        self.accuracies = [Accuracy(self.classes, tops) for _ in range(self.count)]
        self.drops = [Drop(tops) for _ in self.agreements]
        return notes

    def _check(self, labels: np.ndarray) -> None:
        wrong = labels[(labels < 0) | (labels >= self.classes)]
        if wrong.size:
            text = f"the network has {self.classes} classes, 0 to {self.classes - 1}"
            raise SourceError(f"label {wrong[0]} is out of range: {text}; is it the right network for these images?")

    def nan_notes(self) -> list[str]:
        return [
            f"there are NaN among the scores of {count} of {self.images} images; they count as wrong"
            for count in self.nans
            if count
        ]

    def entry(self, index: int, output: str | None, per_class: bool, names: Sequence[str]) -> dict[str, Any]:
        accuracy = None if self.accuracies is None else self.accuracies[index]
        return {
            "output": output,
            "top": None if accuracy is None else accuracy.top(),
            "error": None if accuracy is None else accuracy.error(),
            "drop": self.drops[index].report() if index < len(self.drops) else None,
            "per_class": accuracy.per_class(names) if accuracy is not None and per_class else None,
            "agreement": self.agreements[index].report() if index < len(self.agreements) else None,
        }
