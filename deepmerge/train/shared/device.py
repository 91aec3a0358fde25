"""Where training runs, and on how many threads. Importing this loads no PyTorch; calling it does."""

from __future__ import annotations

import contextlib
import ctypes
from typing import TYPE_CHECKING

from deepmerge.errors import EngineError
from deepmerge.machine import cores

if TYPE_CHECKING:
    import torch


PRECISIONS = ("auto", "fp32", "bf16")
# bfloat16 is used if its loss is at most this many times the float32 loss: training reduces the loss, not the rounding
BF16_LOSS = 1.1
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # glibc's malloc.h


def check_precision(name: str) -> None:
    """Raise an EngineError for an unknown precision."""
    if name not in PRECISIONS:
        raise EngineError(f"precision {name!r} is not one of {', '.join(PRECISIONS)}")


def has_fast_bf16(device: torch.device) -> bool:
    """Return whether the device has instructions for bfloat16 (AVX512-BF16, AMX; NVIDIA from Ampere on)."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    checks = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(check is not None and check() for check in checks)


def prepare(device: str = "cpu", threads: int | None = None, seed: int = 0) -> torch.device:
    """Return the device, ready to train on: random numbers seeded, CPU threads set (default: every core).

    On the CPU the same seed and number of threads give the same bytes. A GPU uses TF32 and the fastest cuDNN
    algorithms, some of which add in a varying order. EngineError without PyTorch, or for an unknown device.
    """
    import deepmerge.engines.pytorch  # noqa: F401  # says how to install torch
    from deepmerge.engines.pytorch.engine import find_device

    chosen = find_device(device)
    import torch

    torch.set_num_threads(threads or cores())
    torch.manual_seed(seed)
    if chosen.type == "cpu":
        _keep_freed_memory()
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True
    return chosen


def _keep_freed_memory() -> None:
    """Let glibc keep what is freed for the next allocation, instead of giving it back to the system.

    By default each activation over 32 MB is mapped again, and its pages are cleared: 40 iterations of GoogLeNet's front
    had 10 million page faults and took 52 s, and 0.7 million and 45 s with this. Other C libraries are left alone.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):  # no glibc
        for parameter, value in ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1)):
            ctypes.CDLL(None).mallopt(parameter, value)
