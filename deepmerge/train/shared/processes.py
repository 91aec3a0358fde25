"""One process or several: `torchrun -m deepmerge finetune …` starts several, which share each batch.

The average of their gradients is what one process would get from the whole batch, up to rounding. The exceptions are
what depends on more than one image, or on chance: BatchNorm by the statistics of the batch (each process takes those of
its share), a loss divided by the number of labels that are not ignored (the shares may differ in it), and Dropout.
"""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deepmerge.errors import DeepmergeError, EngineError
from deepmerge.text import flat

if TYPE_CHECKING:
    from torch import Tensor

_START = datetime.timedelta(minutes=30)  # for all processes to be there
# The first process may test for hours while the others wait. torchrun ends them all when one dies.
_EXCHANGE = datetime.timedelta(days=7)


@dataclass(frozen=True)
class Processes:
    """The processes of a run, seen from one of them. Only the first one writes files. group: torch's, of them all."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    group: Any = None

    @property
    def first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def share(self, batch_size: int) -> int:
        """Return how many images of a batch each process takes; DeepmergeError where it cannot be divided."""
        if batch_size % self.size:
            raise DeepmergeError(
                f"a batch of {batch_size} images cannot be divided among {self.size} processes",
                remedy=f"give a --batch-size that is a multiple of {self.size}",
            )
        return batch_size // self.size

    def own_batch(self, index: int) -> int:
        """Return which of the loader's batches, each a share, is this process's part of batch `index`."""
        return index * self.size + self.rank

    def sum(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over all processes, in one exchange."""
        if self.size == 1 or not tensors:
            return
        import torch
        from torch import distributed

        joined = torch.cat([tensor.reshape(-1) for tensor in tensors])
        distributed.all_reduce(joined, group=self.group)
        for tensor, part in zip(tensors, joined.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))

    def from_first(self, value: Any) -> Any:
        """Return the first process's value in all of them."""
        if self.size == 1:
            return value
        import torch
        from torch import distributed

        values = [value]
        device = torch.device("cuda", self.local_rank) if distributed.get_backend() == "nccl" else None
        distributed.broadcast_object_list(values, device=device, group=self.group)
        return values[0]


@contextlib.contextmanager
def joined(device: str) -> Iterator[Processes]:
    """Connect the processes that torchrun has started, by its environment variables; without them there is one.

    device: cuda (exchanges by NCCL) or cpu (Gloo). EngineError where the processes do not find each other.
    """
    size = _number("WORLD_SIZE", 1)
    if size == 1:
        yield Processes()
        return
    from torch import distributed

    rank, local_rank = _number("RANK", 0), _number("LOCAL_RANK", 0)
    try:
        distributed.init_process_group("nccl" if device == "cuda" else "gloo", timeout=_START)
    except (RuntimeError, ValueError) as error:
        reason = flat(error)
        text = f"the {size} processes do not find each other ({reason})"
        raise EngineError(text, remedy="start them with torchrun") from None
    try:
        yield Processes(rank, size, local_rank, distributed.new_group(timeout=_EXCHANGE))
    finally:
        distributed.destroy_process_group()


def _number(variable: str, default: int) -> int:
    text = os.environ.get(variable, str(default))
    if not text.isdigit():
        raise EngineError(
            f"the environment variable {variable} is {text!r}, not a number",
            remedy="start several processes with torchrun",
        )
    return int(text)
