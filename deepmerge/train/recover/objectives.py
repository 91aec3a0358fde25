"""What the stages segments, chain and distill minimise.

segments, chain: each merged segment learns to give the original's values at its output.
distill: the merged network as a whole learns to give the original's logits, without a label.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from deepmerge.errors import GraphError
from deepmerge.graph.graph import Graph
from deepmerge.graph.shapes import infer_shapes
from deepmerge.train.recover.segments import Segment
from deepmerge.train.shared.losses import divergence, logits_of, relative_error

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Parameter

    from deepmerge.engines.pytorch import TorchNet

TEMPERATURE = 4.0  # inception_mini learned more in equal time than with 2, 8, or squared differences
MOST_KEPT = 128 << 20  # bytes of the original's answers
_TOGETHER = 32  # the original runs on multiples of this many images


class Objective(Protocol):
    """What a stage minimises. parts: the names of its losses. student: the network that is trained."""

    parts: tuple[str, ...]
    student: TorchNet

    @property
    def parameters(self) -> list[Parameter]:
        """What is trained."""
        ...

    def losses(self, images: Tensor) -> Tensor:
        """Return the loss of each part for a batch, (parts,). Their sum is minimised."""
        ...


class Reconstruction:
    """The objective of the stages segments and chain. It is an Objective.

    segments: on the original's inputs, all at once; no segment depends on another.
    chain: on the merged network's own inputs, as the recovered segments before leave them. No gradient crosses a
    segment's border, so a step's layers depend only on the steps before it.

    A segment's loss is mean((y − t)²) / var(t), where t is the original's output. Each segment has weights of its own,
    and no step depends on how large a gradient is (optimizer.py), so the sum of the losses trains each by its own.

    teacher, student: the original and the merged network. input: their input blob. own_inputs: True for chain.
    """

    def __init__(self, teacher: TorchNet, student: TorchNet, segments: Sequence[Segment], input: str, own_inputs: bool):
        self.teacher, self.student, self.input, self.own_inputs = teacher, student, input, own_inputs
        self.segments = [segment for segment in segments if segment.trained]
        self.parts = tuple(segment.name for segment in self.segments)
        inputs = () if own_inputs else (blob for segment in self.segments for blob in segment.inputs)
        self._wanted = tuple(dict.fromkeys((*inputs, *(segment.output for segment in self.segments))))

    @property
    def parameters(self) -> list[Parameter]:
        """The blobs of the segments' trained layers."""
        blobs = (blob for segment in self.segments for name in segment.trained for blob in self.student.blobs_of(name))
        return list(dict.fromkeys(blobs))

    def losses(self, images: Tensor) -> Tensor:
        """Return the segments' losses for a batch, (segments,)."""
        import torch

        with torch.no_grad():
            wanted = self.teacher({self.input: images}, self._wanted)
        have = {self.input: images} if self.own_inputs else wanted
        losses = []
        for segment in self.segments:
            if missing := tuple(blob for blob in segment.inputs if blob not in have):
                with torch.no_grad():
                    have |= self.student(have, missing)
            y = self.student({blob: have[blob] for blob in segment.inputs}, (segment.output,))[segment.output]
            if self.own_inputs:
                have[segment.output] = y.detach()
            losses.append(relative_error(y, wanted[segment.output]))
        return torch.stack(losses)


class Answers:
    """The original's answers by the digests of the images, so that it is asked about each image once.

    keys: uint64 (N, 2). values: float32 (N, sum of the outputs' values).
    """

    def __init__(self, most: int = MOST_KEPT):
        self._most, self._bytes = most, 0
        self._known: dict[bytes, np.ndarray] = {}

    def get(self, key: bytes) -> np.ndarray | None:
        """Return an image's answer, None if it is not known."""
        return self._known.get(key)

    def put(self, key: bytes, value: np.ndarray) -> None:
        """Keep an answer, if there is memory left for it."""
        if key not in self._known and self._bytes + value.nbytes <= self._most:
            self._known[key] = value
            self._bytes += value.nbytes

    def arrays(self) -> dict[str, np.ndarray]:
        """Return all answers, for a checkpoint."""
        if not self._known:
            return {}
        keys = np.frombuffer(b"".join(self._known), np.uint64).reshape(-1, 2)
        return {"answers/keys": keys, "answers/values": np.stack(list(self._known.values()))}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Add the answers of a checkpoint."""
        if "answers/keys" in arrays:
            for key, value in zip(arrays["answers/keys"], arrays["answers/values"], strict=True):
                self.put(key.tobytes(), value)


def image_key(image: np.ndarray) -> bytes:
    """Return a digest of an image's values, 16 bytes."""
    return hashlib.blake2b(np.ascontiguousarray(image), digest_size=16).digest()


class Distillation:
    """The objective of the stage distill. It is an Objective.

    An output that a Softmax makes is compared before it, by the divergence at TEMPERATURE; other outputs by their
    relative error. See shared/losses.py.

    teacher, student: the networks of the graphs original and merged. input: their input blob. answers: the teacher's
    known answers, None to ask it each time. bf16: whether the teacher computes in bfloat16, under autocast or not.
    """

    def __init__(
        self,
        teacher: TorchNet,
        student: TorchNet,
        graphs: tuple[Graph, Graph],
        input: str,
        answers: Answers | None,
        bf16: bool = False,
    ):
        self.teacher, self.student, self.input, self.answers, self.bf16 = teacher, student, input, answers, bf16
        original, self._merged = graphs
        pairs = [_compared(original, self._merged, output) for output in student.outputs]
        self._asked = tuple(theirs for theirs, _, _ in pairs)
        self.parts = tuple(own for _, own, _ in pairs)
        self._are_logits = [logits for _, _, logits in pairs]
        shapes = {blob.name: shape for blob, shape in infer_shapes(original).items()}
        self._shapes = [shapes[blob][1:] for blob in self._asked]

    @property
    def answer_bytes(self) -> int:
        """The size of the original's answer to one image."""
        return 4 * sum(int(np.prod(shape, dtype=int)) for shape in self._shapes)

    @property
    def parameters(self) -> list[Parameter]:
        """All learned blobs of the merged network."""
        layers = [layer for layer in self._merged.layers if not layer.kind.normalization]
        blobs = (blob for layer in layers for blob in self.student.blobs_of(layer.name))
        return list(dict.fromkeys(blob for blob in blobs if blob.requires_grad))

    def losses(self, images: Tensor) -> Tensor:
        """Return the outputs' losses for a batch, (outputs,)."""
        import torch

        targets = self.targets(images)
        outputs = self.student({self.input: images}, self.parts)
        losses = []
        for part, are_logits, target in zip(self.parts, self._are_logits, targets, strict=True):
            own = outputs[part].float()
            losses.append(divergence(own, target, TEMPERATURE) if are_logits else relative_error(own, target))
        return torch.stack(losses)

    def targets(self, images: Tensor) -> list[Tensor]:
        """Return the original's values of `parts` for a batch."""
        if self.answers is None:
            return self._ask(images)
        import torch

        # contiguous if the channels are last in memory
        keys = [image_key(image) for image in images.movedim(1, -1).cpu().numpy()]
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
        return self._split(torch.from_numpy(every).to(images.device))

    def _ask(self, images: Tensor) -> list[Tensor]:
        import torch

        with torch.no_grad(), torch.autocast(images.device.type, torch.bfloat16, enabled=self.bf16):
            said = self.teacher({self.input: images}, self._asked)
        return [said[blob].float() for blob in self._asked]

    def _split(self, flat: Tensor) -> list[Tensor]:
        """Split rows of values, one for each image, into a tensor for each output."""
        outputs, start = [], 0
        for shape in self._shapes:
            size = int(np.prod(shape, dtype=int))
            outputs.append(flat[:, start : start + size].reshape(-1, *shape))
            start += size
        return outputs


def _compared(original: Graph, merged: Graph, output: str) -> tuple[str, str, bool]:
    """Return, for an output, the original's blob, the merged network's, and whether both are logits."""
    if all(blob.name != output for blob in original.blobs):
        text = f"the original has no blob {output!r}, which the merged network gives"
        raise GraphError(text, remedy="is it a conversion of that network?")
    own, theirs = _logits_before(merged, output), _logits_before(original, output)
    if own is None or theirs is None:
        return output, output, False
    return theirs, own, True


def _logits_before(graph: Graph, output: str) -> str | None:
    """Return the name of the blob that the output's Softmax reads; None if no Softmax makes the output."""
    makers = [layer for layer in graph.layers if any(top.name == output for top in layer.tops)]
    return logits_of(makers[-1])
