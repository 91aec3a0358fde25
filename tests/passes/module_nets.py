"""Inception-like modules for the tests of branch merging."""

from __future__ import annotations

from tests.helpers import conv, inputs, layer

KERNELS = {
    "3x3": "kernel_size: 3 pad: 1",
    "3x5": "kernel_h: 3 kernel_w: 5 pad_h: 1 pad_w: 2",
    "5x5": "kernel_size: 5 pad: 2",
}
ENTRY = inputs((2, 6, 9, 8))


def act(bottom: str, kind: str = "ReLU", params: str = "") -> str:
    """An activation in place, or nothing."""
    return layer(f"{bottom}/act", kind, bottom, params, bottom) if kind else ""


def point(name: str, num_output: int, kind: str = "ReLU", bottom: str = "data", params: str = "") -> str:
    return conv(name, bottom, num_output, f"kernel_size: 1 {params}") + act(name, kind)


def reduced(name: str, width: int, num_output: int, kernel: str = "3x3", kind: str = "ReLU", params: str = "") -> str:
    """1x1 → kxk."""
    text = point(f"{name}_reduce", width, kind, params=params)
    return text + conv(name, f"{name}_reduce", num_output, f"{KERNELS[kernel]} {params}") + act(name, kind)


def plain(name: str, num_output: int, kernel: str = "3x3", kind: str = "ReLU") -> str:
    return conv(name, "data", num_output, KERNELS[kernel]) + act(name, kind)


def pooled(name: str, num_output: int, kind: str = "ReLU", pool: str = "MAX") -> str:
    """3x3 pooling → 1x1."""
    text = layer(f"{name}_pool", "Pooling", "data", f"pool: {pool} kernel_size: 3 stride: 1 pad: 1")
    return text + point(name, num_output, kind, f"{name}_pool")


def concat(*names: str) -> str:
    return layer("out", "Concat", " ".join(names))


def inception(order: str = "a b c d", width: int = 6) -> str:
    """Four branches: a 1x1 (7), b 3x3 (5), c 5x5 (4), d pooling (3), in some order of the Concat."""
    branches = point("a", 7) + reduced("b", width, 5) + reduced("c", 4, 4, "5x5") + pooled("d", 3)
    return ENTRY + branches + concat(*order.split())
