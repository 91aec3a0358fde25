"""Where training runs, and on how many threads. Importing this loads no PyTorch; calling it does."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from deepmerge.errors import EngineError

if TYPE_CHECKING:
    import torch


def cores() -> int:
    """How many CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def have_torch() -> bool:
    try:
        import deepmerge.engines.pytorch  # noqa: F401
    except EngineError:
        return False
    return True


def fast_halves(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 faster than float32 (AVX512-BF16, AMX; NVIDIA from Ampere on)."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    checks = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(check is not None and check() for check in checks)


def prepare(device: str = "cpu", threads: int | None = None, seed: int = 0) -> torch.device:
    """The device, ready to train on: its random numbers seeded, CPU work on `threads` threads (default: every core).

    On the CPU the same seed on the same number of threads gives the same bytes. On a GPU speed goes first: TF32, and
    the fastest of cuDNN's algorithms, some of which add up in any order.
    EngineError where PyTorch is not installed, or there is no such device.
    """
    import deepmerge.engines.pytorch  # noqa: F401  # says how to install torch
    from deepmerge.engines.pytorch.engine import find_device

    found = find_device(device)
    import torch

    torch.set_num_threads(threads or cores())
    torch.manual_seed(seed)
    if found.type == "cuda":
        torch.cuda.set_device(found)
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True
    return found
