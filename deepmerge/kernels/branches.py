"""Parallel branches joined into one: a 1x1 branch beside reducer → ReLU → kxk.

Reducer weights (r, C, 1, 1), convolution weights (n, r, kernel_h, kernel_w), the guest's (g, C, 1, 1);
biases (r,), (n,), (g,). float32 in and out. Source: Li et al., DeepRebirth (AAAI 2018), branch merging;
the exact start from trained weights is ours.
"""

from __future__ import annotations

import numpy as np

Pair = tuple[np.ndarray, np.ndarray]


def widen(reducer: Pair, conv: Pair, guests: list[Pair], before: int) -> tuple[Pair, Pair]:
    """Carry 1x1 guests through a reducer and its kxk convolution, output unchanged.

    The reducer gains the guests' filters, and the convolution gives each an identity tap in its
    centre: relu(relu(x)) = relu(x). `before` of the guests' outputs come ahead of the convolution's own.
    """
    guest_w = np.concatenate([w for w, _ in guests])
    guest_b = np.concatenate([b for _, b in guests])
    width = len(guest_w)
    own, kernel_h, kernel_w = conv[0].shape[1], *conv[0].shape[2:]
    carried = np.zeros((width, own + width, kernel_h, kernel_w), np.float32)
    carried[np.arange(width), own + np.arange(width), kernel_h // 2, kernel_w // 2] = 1.0
    kept = np.concatenate([conv[0], np.zeros((len(conv[0]), width, kernel_h, kernel_w), np.float32)], axis=1)
    weight = _ordered(kept, carried, before)
    bias = _ordered(conv[1], np.zeros(width, np.float32), before)
    return (np.concatenate([reducer[0], guest_w]), np.concatenate([reducer[1], guest_b])), (weight, bias)


def join(conv: Pair, guests: list[Pair], before: int) -> Pair:
    """Set 1x1 guests of the same input beside a kxk convolution's filters, as centre taps. Exact."""
    kernel_h, kernel_w = conv[0].shape[2:]
    guest_w = np.concatenate([w for w, _ in guests])
    taps = np.zeros((*guest_w.shape[:2], kernel_h, kernel_w), np.float32)
    taps[:, :, kernel_h // 2, kernel_w // 2] = guest_w[:, :, 0, 0]
    return _ordered(conv[0], taps, before), _ordered(conv[1], np.concatenate([b for _, b in guests]), before)


def _ordered(own: np.ndarray, guests: np.ndarray, before: int) -> np.ndarray:
    return np.concatenate([guests[:before], own, guests[before:]])
