"""The tests of a stage on PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from deepmerge.data import Loader
from deepmerge.engines.pytorch import TorchNet
from deepmerge.formats.read.training import TrainingNet, read_training
from deepmerge.formats.read.weights import Weights
from deepmerge.graph.graph import Graph
from deepmerge.train.finetune.spec import Job, Stage, solver_tests
from deepmerge.train.finetune.start import load_start
from deepmerge.train.finetune.torch_data import SCORED, class_count, feeds_of, ignored_label, main_loss, network_loader


@dataclass
class Tester:
    """A TEST network and its images.

    batches: the number of batches in a test, at most all. scores: the blob that the labels are compared with, or None.
    """

    net: TrainingNet
    loader: Loader
    batches: int
    scores: str | None

    def run(self, trained: TorchNet, device: torch.device, most: int | None) -> dict[str, float]:
        """Return the means of the network's outputs (Accuracy, losses) by blob name, `top1` and `images`.

        trained: the network whose weights are tested. most: batches at most, None to take all images.
        """
        trained.store(self.net.graph)
        net = TorchNet(self.net.graph, "TEST").to(device)
        graph = self.net.graph
        outputs = [blob.name for blob in graph.outputs if blob not in graph.inputs]  # labels may be read by nobody
        has_top1 = bool(self.scores and self.net.labels)
        wanted = [*outputs, self.scores] if has_top1 else outputs
        sums, right, judged, images = dict.fromkeys(outputs, 0.0), 0, 0, 0
        for number, batch in enumerate(self.loader.once()):
            if number == most:
                break
            with torch.no_grad():
                values = net(feeds_of(self.net, batch, device), wanted)
            for name in outputs:
                sums[name] += float(values[name].double().mean()) * len(batch.data)
            if has_top1:
                kept = batch.labels != self.loader.loading.ignored
                right += _count_right(values[self.scores], batch.labels, kept)
                judged += int(kept.sum())
            images += len(batch.data)
        means = {name: value / images for name, value in sums.items()}
        return means | ({"top1": right / max(judged, 1)} if has_top1 else {}) | {"images": images}


def _count_right(scores: Tensor, labels: np.ndarray, kept: np.ndarray) -> int:
    """Return for how many of the kept images the class with the highest score is the label."""
    best = scores.flatten(1).argmax(1).cpu().numpy()
    return int((best == labels)[kept].sum())


def open_testers(
    stage: Stage, job: Job, train: TrainingNet, deploy: Graph, starts: Sequence[Path | Weights], seed: int
) -> list[Tester]:
    """Return the solver's tests, all on the same images; without any, its training network in the TEST phase."""
    loss = main_loss(train.graph)
    scores = loss.bottoms[0].name
    testers = []
    for source, batches in solver_tests(stage.solver):
        net = read_training(source, "TEST", stage.image_shape(deploy), job.batch_size)
        load_start(net, starts, seed)
        options = {"shuffle": False, "classes": class_count(train, loss), "ignored": ignored_label(net.graph)}
        loader, _ = network_loader(job.test_data, job, deploy, net, net.batch_size, **options)
        known = loss.type in SCORED and any(blob.name == scores for blob in net.graph.blobs)
        testers.append(Tester(net, loader, batches or loader.count, scores if known else None))
    return testers
