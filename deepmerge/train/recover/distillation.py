"""What the stages front, tail and distill minimise: the merged network learns to give what the original gives.

distill trains all layers on the original's logits and its last map. front trains those before a cut on the original's
values there; tail trains those after it like distill, on the merged network's values at the cut, which no step changes.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from deepmerge.errors import GraphError
from deepmerge.graph.extract import layers_between
from deepmerge.graph.graph import Blob, Graph
from deepmerge.graph.shapes import infer_shapes
from deepmerge.train.shared.losses import WITHOUT_GRADIENT, divergence, logits_of, relative_error, weighted_error

if TYPE_CHECKING:
    from torch import Tensor, dtype
    from torch.nn import Parameter

    from deepmerge.engines.pytorch import TorchNet

# Of the feature's loss, by stage. In 200 iterations of tail from least squares, GoogLeNet's divergence on 1,000 images
# falls from 0.725 to 0.568 with a weight of 8, to 0.550 with 32, and to 0.546 with 128. In five minutes of distill,
# inception_mini agrees on 88.4 % of the images with 8, on 87.5 % with 32; in two minutes 32 is better.
FEATURE_WEIGHTS = {"tail": 32.0, "distill": 8.0}
TEMPERATURE = 4.0  # inception_mini learned more in equal time than with 2, 8, or squared differences
# Bytes of the original's largest blob, in float32, for the images that a CPU asks about at once. What fits into its
# cache is faster: GoogLeNet's answer and the values at the cut take 16 ms an image by eights, 23 ms by 64.
CACHED = 32 << 20
LARGEST_KEPT = 2 << 20  # bytes of an image in float32 that is kept: 2,048 of them fill views.MOST_KEPT
ROUNDING = ("Convolution", "InnerProduct")  # what computes in bfloat16, whatever it reads


@dataclass(frozen=True)
class Batch:
    """Images as an objective takes them in.

    feeds: blob → the student's values there, (N, …). targets: the original's values of the objective's parts, (N, …).
    """

    feeds: dict[str, Tensor]
    targets: list[Tensor]

    def __len__(self) -> int:
        return len(self.targets[0])


class Objective(Protocol):
    """What a stage minimises. parts: the names of its losses."""

    parts: tuple[str, ...]

    @property
    def parameters(self) -> list[Parameter]:
        """What is trained."""
        ...

    def losses(self, batch: Batch) -> Tensor:
        """Return the loss of each part for a batch, (parts,). Their sum is minimised."""
        ...


@dataclass(frozen=True)
class Compared:
    """A blob of the merged network, and the original's that it is to equal.

    logits: whether both are. weight: of its loss. matrix: of losses.weighted_error, None for the relative error.
    """

    own: str
    theirs: str
    logits: bool = False
    weight: float = 1.0
    matrix: Tensor | None = None


class Distillation:
    """The objective of the stages front, tail and distill. It is an Objective.

    Logits are compared by the divergence at TEMPERATURE, other blobs by their relative error, or by the error weighted
    by a matrix. See shared/losses.py.

    Parameters
    ----------
    nets
        Teacher and student: those of `graphs`.
    graphs
        The original and the merged network.
    compared
        See `compared_blobs`.
    start
        The student's blob that training starts from: its input, or a cut.
    bf16
        Whether the networks compute in bfloat16. What is kept of them has that precision, too.
    """

    def __init__(
        self,
        nets: tuple[TorchNet, TorchNet],
        graphs: tuple[Graph, Graph],
        compared: Sequence[Compared],
        start: str | None = None,
        bf16: bool = False,
    ):
        self.teacher, self.student = nets
        self.input = next(iter(self.student.inputs))
        self.start, self.bf16 = start or self.input, bf16
        self._original, self._merged = graphs
        self._compared = tuple(compared)
        self.parts = tuple(pair.own for pair in compared)
        largest = max(int(np.prod(shape[1:], dtype=int)) for shape in infer_shapes(graphs[0]).values() if shape)
        self._at_once = max(1, CACHED // (4 * largest))  # images

    @property
    def is_cut(self) -> bool:
        """Whether training starts after the network's input."""
        return self.start != self.input

    @functools.cached_property
    def keeps_start(self) -> bool:
        """Whether the values that training starts from are kept.

        Those at a cut are. On a CPU, images are too, as making 64 of 224x224 again takes 0.2 s of it. A GPU would wait
        for the disk, and few large images would fit.
        """
        image = 4 * int(np.prod(self._sizes[self.start], dtype=int))
        return self.is_cut or (self.parameters[0].device.type == "cpu" and image <= LARGEST_KEPT)

    @functools.cached_property
    def _sizes(self) -> dict[str, tuple[int, ...]]:
        """The shape of an image's value of each blob of the merged network."""
        return {blob.name: shape[1:] for blob, shape in infer_shapes(self._merged).items() if shape}

    @property
    def _rounds_start(self) -> bool:
        """Whether bfloat16 is enough for what training starts from: its readers round it anyway."""
        readers = [layer for layer in self._merged.layers if any(blob.name == self.start for blob in layer.bottoms)]
        return self.bf16 and (self.is_cut or all(layer.type in ROUNDING for layer in readers))

    @functools.cached_property
    def parameters(self) -> list[Parameter]:
        """The learned blobs of the layers after the start that no layer before it shares."""
        finals = self._merged.finals
        after = set(layers_between(self._merged, [finals[self.start]], [finals[part] for part in self.parts]))
        blobs: dict[bool, dict[Parameter, None]] = {True: {}, False: {}}
        for layer in self._merged.layers:
            if not layer.kind.normalization:
                blobs[layer in after] |= dict.fromkeys(self.student.blobs_of(layer.name))
        return [blob for blob in blobs[True] if blob.requires_grad and blob not in blobs[False]]

    def kept(self) -> list[tuple[tuple[int, ...], dtype]]:
        """Return shape and type of what is worth keeping of an image: what training starts from, and the targets."""
        import torch

        theirs = {blob.name: shape[1:] for blob, shape in infer_shapes(self._original).items()}
        rounded = torch.bfloat16 if self.bf16 else torch.float32
        first = torch.bfloat16 if self._rounds_start else torch.float32
        start = [(self._sizes[self.start], first)] if self.keeps_start else []
        return start + [(theirs[pair.theirs], torch.float32 if pair.logits else rounded) for pair in self._compared]

    def ask(self, images: Tensor) -> Batch:
        """Return the images, or the student's values at the cut, with the original's answers."""
        import torch

        pieces = images.split(self._at_once) if images.device.type == "cpu" else [images]
        with torch.no_grad(), torch.autocast(images.device.type, torch.bfloat16, enabled=self.bf16):
            said = zip(*(self._said(piece) for piece in pieces), strict=True)
            first, *targets = (torch.cat(values) if len(values) > 1 else values[0] for values in said)
        return Batch({self.start: first}, targets)

    def _said(self, images: Tensor) -> list[Tensor]:
        asked = tuple(pair.theirs for pair in self._compared)
        said = self.teacher({self.input: images}, asked)
        start = self.student({self.input: images}, (self.start,))[self.start] if self.is_cut else images
        return [start, *(said[blob] for blob in asked)]

    def losses(self, batch: Batch) -> Tensor:
        """Return the loss of each part for a batch, (parts,)."""
        import torch

        made = self.student({blob: values.float() for blob, values in batch.feeds.items()}, self.parts)
        losses = []
        for pair, target in zip(self._compared, batch.targets, strict=True):
            losses.append(pair.weight * _loss(pair, made[pair.own], target))
        return torch.stack(losses)


def _loss(pair: Compared, own: Tensor, wanted: Tensor) -> Tensor:
    if pair.logits:
        return divergence(own.float(), wanted.float(), TEMPERATURE)
    return relative_error(own, wanted) if pair.matrix is None else weighted_error(own, wanted, pair.matrix)


def compared_blobs(original: Graph, merged: Graph, feature: str | None = None, weight: float = 1.0) -> list[Compared]:
    """Return what of the two networks is compared.

    These are the outputs, before an ArgMax, a Threshold and a Softmax that make them, and `feature`, a blob that has
    the same meaning in both. weight: of the feature's loss. GraphError if the original lacks an output.

    References
    ----------
    For the feature: Wang, Wu: "Practical Network Acceleration with Tiny Sets", CVPR 2023 (arXiv 2202.07861).
    """
    pairs = [_compared(original, merged, blob.name) for blob in merged.outputs]
    if feature is not None and all(pair.own != feature for pair in pairs):
        pairs.append(Compared(feature, feature, weight=weight))
    return pairs


def _compared(original: Graph, merged: Graph, output: str) -> Compared:
    if all(blob.name != output for blob in original.blobs):
        text = f"the original has no blob {output!r}, which the merged network gives"
        raise GraphError(text, remedy="is it a conversion of that network?")
    own, theirs = _with_gradient(merged, output), _with_gradient(original, output)
    logits = logits_of(own.producer), logits_of(theirs.producer)
    return Compared(own.name, theirs.name) if None in logits else Compared(*logits, logits=True)


def _with_gradient(graph: Graph, output: str) -> Blob:
    """Return the output, or the nearest blob before it that gradients get to."""
    blob = graph.finals[output]
    while blob.producer.type in WITHOUT_GRADIENT:
        blob = blob.producer.bottom
    return blob
