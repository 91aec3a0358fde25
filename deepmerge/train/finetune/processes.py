"""One process or many: `torchrun -m deepmerge finetune …` starts several, which share each batch between them.

The average of their gradients is what one process would get from the whole batch, up to float rounding.
"""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deepmerge.errors import DeepmergeError, EngineError

if TYPE_CHECKING:
    from torch import Tensor

_WAIT = datetime.timedelta(minutes=30)  # the others may test or write meanwhile


@dataclass(frozen=True)
class Processes:
    """This process's number among all of them. `first` writes; the others only compute."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def first(self) -> bool:
        return self.rank == 0

    def share(self, batch_size: int) -> int:
        """How many images of a batch each process takes; DeepmergeError where it cannot be divided."""
        if batch_size % self.size:
            text = f"a batch of {batch_size} images cannot be divided among {self.size} processes"
            raise DeepmergeError(f"{text}; give a --batch-size that is a multiple of {self.size}")
        return batch_size // self.size

    def place(self, index: int) -> int:
        """Of an endless row of shares, the one that this process takes of batch `index`."""
        return index * self.size + self.rank

    def sum(self, tensors: Sequence[Tensor]) -> None:
        """Each tensor becomes its sum over all processes, in one exchange."""
        if self.size == 1 or not tensors:
            return
        import torch
        from torch import distributed

        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        distributed.all_reduce(flat)
        for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))

    def told(self, value: Any) -> Any:
        """What the first process says, whatever the others give."""
        if self.size == 1:
            return value
        import torch
        from torch import distributed

        said = [value]
        device = torch.device("cuda", self.local_rank) if distributed.get_backend() == "nccl" else None
        distributed.broadcast_object_list(said, device=device)
        return said[0]


@contextlib.contextmanager
def joined(device: str) -> Iterator[Processes]:
    """All processes that torchrun has started, by its environment variables; a single one without them.

    device: cuda (exchanges by NCCL) or cpu (Gloo). EngineError where they do not find each other.
    """
    size = _number("WORLD_SIZE", 1)
    if size == 1:
        yield Processes()
        return
    from torch import distributed

    made = Processes(_number("RANK", 0), size, _number("LOCAL_RANK", 0))
    try:
        distributed.init_process_group("nccl" if device == "cuda" else "gloo", timeout=_WAIT)
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise EngineError(f"the {size} processes do not find each other ({reason}); start them with torchrun") from None
    try:
        yield made
    finally:
        distributed.destroy_process_group()


def _number(variable: str, usual: int) -> int:
    text = os.environ.get(variable, str(usual))
    if not text.isdigit():
        raise EngineError(
            f"the environment variable {variable} is {text!r}, not a number; start several processes with torchrun"
        )
    return int(text)
