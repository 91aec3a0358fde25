"""The images that a network of a stage on PyTorch is fed, and what their labels are to it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from deepmerge.data import Batch, Loader, Loading, network_transform, open_network_images
from deepmerge.errors import ReadError
from deepmerge.formats.read.training import TrainingNet, losses
from deepmerge.graph.graph import Graph, Layer
from deepmerge.train.finetune.spec import Job

SCORED = ("HingeLoss", "InfogainLoss", "MultinomialLogisticLoss", "SoftmaxWithLoss")  # labels are class indices


def network_loader(
    spec: str, job: Job, deploy: Graph, net: TrainingNet, batch_size: int, **options: Any
) -> tuple[Loader, list[str]]:
    """Return the images for a network of either phase, preprocessed as its data layers or the user say, and notes."""
    images = open_network_images(spec, deploy)
    train, labelled = net.phase == "TRAIN", net.labels is not None
    how, notes = images.preprocessing(network_transform(net.graph, net.file, net.phase), job.wishes, train)
    loading = Loading(train=train, labelled=labelled, strict=job.strict, cache_bytes=job.cache_bytes, **options)
    return Loader(images.source, how, images.shape, batch_size, loading), notes


def feeds_of(net: TrainingNet, batch: Batch, device: torch.device) -> dict[str, Tensor]:
    """Return the network's inputs; ReadError where it needs labels and the batch has none."""
    feeds = {net.images: torch.from_numpy(batch.data).to(device, non_blocking=True)}
    if net.labels is not None:
        if batch.labels is None:
            raise ReadError(
                "the images have no labels, and the network learns from them", remedy="`deepmerge recover` needs none"
            )
        feeds[net.labels] = torch.from_numpy(batch.labels).to(device, non_blocking=True)
    return feeds


def main_loss(graph: Graph) -> Layer:
    """Return the loss layer of the largest weight, the last one if there are several."""
    weighted = losses(graph)
    largest = max(weight for _, weight in weighted)
    return [blob.producer for blob, weight in weighted if weight == largest][-1]


def class_count(net: TrainingNet, loss: Layer) -> int | None:
    """Return the number of classes; None where labels are not classes."""
    shape = net.shapes.get(loss.bottoms[0])
    if loss.type not in SCORED or shape is None or len(shape) < 2:
        return None
    return shape[getattr(loss.params, "axis", 1)]


def ignored_label(graph: Graph) -> int | None:
    """Return the label that every loss and accuracy of classes ignores; None if they do not agree on one."""
    judges = [layer for layer in graph.layers if layer.type in (*SCORED, "Accuracy")]
    ignored = {getattr(layer.params, "ignore_label", None) for layer in judges}
    return ignored.pop() if len(ignored) == 1 else None
