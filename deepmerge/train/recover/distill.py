"""Stage distill: the merged network as a whole learns to give the original's logits, without a label.

Loss: KL(softmax(t/T) ‖ softmax(y/T))·T², t and y being the blobs that the networks' last Softmax reads, T the temperature
(Hinton, Vinyals, Dean: "Distilling the Knowledge in a Neural Network", arXiv 1503.02531). An output that no Softmax makes:
mean((y − t)²) / var(t).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from deepmerge.errors import GraphError
from deepmerge.graph.graph import Graph
from deepmerge.graph.shapes import infer_shapes
from deepmerge.train.recover.segments import STATISTICS

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Parameter

    from deepmerge.engines.pytorch import TorchNet

TEMPERATURE = (
    4.0  # of 2, 4, 8 and none (squared differences), the one that inception_mini learned most with in equal time
)
MOST_KEPT = 128 << 20  # bytes of the original's answers
_TOGETHER = 32  # images: the original runs on multiples of it
_EPS = 1e-12


class Answers:
    """What the original answers to images, by the images' digests, so that each need be asked for once.

    keys: uint64 (N, 2). values: float32 (N, sum of the outputs' values).
    """

    def __init__(self, most: int = MOST_KEPT):
        self._most, self._bytes = most, 0
        self._known: dict[bytes, np.ndarray] = {}

    def get(self, key: bytes) -> np.ndarray | None:
        return self._known.get(key)

    def put(self, key: bytes, value: np.ndarray) -> None:
        if key not in self._known and self._bytes + value.nbytes <= self._most:
            self._known[key] = value
            self._bytes += value.nbytes

    def arrays(self) -> dict[str, np.ndarray]:
        if not self._known:
            return {}
        keys = np.frombuffer(b"".join(self._known), np.uint64).reshape(-1, 2)
        return {"answers/keys": keys, "answers/values": np.stack(list(self._known.values()))}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        if "answers/keys" in arrays:
            for key, value in zip(arrays["answers/keys"], arrays["answers/values"], strict=True):
                self.put(key.tobytes(), value)


def image_key(image: np.ndarray) -> bytes:
    """16 bytes that stand for an image's values."""
    return hashlib.blake2b(np.ascontiguousarray(image), digest_size=16).digest()


class Distillation:
    """What the stage distill makes small.

    Objectives have `parts`, the names of their losses; `parameters`, what is trained; and `losses(images)`, which gives the
    parts' losses for a batch, to be summed.

    teacher, student: the networks of the graphs original and merged. input: their input blob. answers: what the teacher has
    said already; None to ask it each time. halves: the teacher computes in bfloat16, whoever asks.
    """

    def __init__(
        self, teacher: TorchNet, student: TorchNet, graphs: tuple[Graph, Graph], input: str, answers: Answers | None,
        halves: bool = False,
    ):  # fmt: skip
        self.teacher, self.student, self.input, self.answers, self.halves = teacher, student, input, answers, halves
        self._merged = graphs[1]
        pairs = [_compared(*graphs, output) for output in student.outputs]
        self.parts = tuple(mine for _, mine, _ in pairs)
        self._asked = tuple(theirs for theirs, _, _ in pairs)
        self._kinds = [kind for _, _, kind in pairs]
        shapes = {blob.name: shape for blob, shape in infer_shapes(graphs[0]).items()}
        self._shapes = [shapes[blob][1:] for blob in self._asked]

    @property
    def answer_bytes(self) -> int:
        """Of what the original answers to one image."""
        return 4 * sum(int(np.prod(shape, dtype=int)) for shape in self._shapes)

    @property
    def parameters(self) -> list[Parameter]:
        layers = [layer for layer in self._merged.layers if layer.type not in STATISTICS]
        found = (blob for layer in layers for blob in self.student.blobs_of(layer.name))
        return list(dict.fromkeys(blob for blob in found if blob.requires_grad))

    def losses(self, images: Tensor) -> Tensor:
        import torch

        wanted = self.targets(images)
        made = self.student({self.input: images}, self.parts)
        return torch.stack(
            [
                _LOSSES[kind](made[part].float(), t)
                for part, kind, t in zip(self.parts, self._kinds, wanted, strict=True)
            ]
        )

    def targets(self, images: Tensor) -> list[Tensor]:
        """The original's values of `parts` for a batch."""
        if self.answers is None:
            return self._ask(images)
        import torch

        keys = [
            image_key(image) for image in images.movedim(1, -1).cpu().numpy()
        ]  # contiguous, where channels are last
        missing = [place for place, key in enumerate(keys) if self.answers.get(key) is None]
        fresh: dict[bytes, np.ndarray] = {}
        if missing:
            rows = missing + missing[:1] * (-len(missing) % _TOGETHER)
            said = self._ask(images[torch.tensor(rows, device=images.device)])
            flat = torch.cat([blob.flatten(1) for blob in said], 1).cpu().numpy()
            for row, place in enumerate(missing):
                fresh[keys[place]] = flat[row].copy()
                self.answers.put(keys[place], fresh[keys[place]])
        every = np.stack([fresh[key] if key in fresh else self.answers.get(key) for key in keys])
        return self._apart(torch.from_numpy(every).to(images.device))

    def _ask(self, images: Tensor) -> list[Tensor]:
        import torch

        with torch.no_grad(), torch.autocast(images.device.type, torch.bfloat16, enabled=self.halves):
            said = self.teacher({self.input: images}, self._asked)
        return [said[blob].float() for blob in self._asked]

    def _apart(self, flat: Tensor) -> list[Tensor]:
        """One row of values an image → a tensor for each output."""
        found, start = [], 0
        for shape in self._shapes:
            size = int(np.prod(shape, dtype=int))
            found.append(flat[:, start : start + size].reshape(-1, *shape))
            start += size
        return found


def _compared(original: Graph, merged: Graph, output: str) -> tuple[str, str, str]:
    """The original's blob, the merged network's, and the loss, for one output."""
    mine = _before_softmax(merged, output)
    if all(blob.name != output for blob in original.blobs):
        raise GraphError(
            f"the original has no blob {output!r}, which the merged network gives; is it a conversion of that network?"
        )
    theirs = _before_softmax(original, output)
    if mine is None or theirs is None:
        return output, output, "mse"
    return theirs, mine, "kl"


def _before_softmax(graph: Graph, output: str) -> str | None:
    """The name of the blob that the output's Softmax reads; None where there is no Softmax, or it runs in place."""
    layer = next(layer for layer in reversed(graph.layers) if any(top.name == output for top in layer.tops))
    if layer.type != "Softmax" or layer.params.axis not in (1, -1) or layer.bottom.name == output:
        return None
    return layer.bottom.name


def _divergence(y: Tensor, t: Tensor) -> Tensor:
    """KL at the temperature, over axis 1, a mean over the rest."""
    from torch.nn.functional import kl_div, log_softmax

    y, t = (log_softmax(blob.movedim(1, -1).flatten(0, -2) / TEMPERATURE, -1) for blob in (y, t))
    return kl_div(y, t, reduction="batchmean", log_target=True) * TEMPERATURE**2


def _squares(y: Tensor, t: Tensor) -> Tensor:
    return (y - t).square().mean() / (t.var(unbiased=False) + _EPS)


_LOSSES = {"kl": _divergence, "mse": _squares}
