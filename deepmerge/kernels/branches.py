"""Parallel branches joined into one: 1x1 branches (guests) beside reducer → ReLU → kxk.

Reducer weights (r, C, 1, 1), convolution weights (n, r, kernel_h, kernel_w), a guest's (g, C, 1, 1); biases (r,), (n,),
(g,). float32 in and out. Source: Li et al., DeepRebirth (AAAI 2018), branch merging; the exact start from trained
weights is ours.
"""

from __future__ import annotations

import numpy as np

Filters = tuple[np.ndarray, np.ndarray]  # weights and biases


def widen(reducer: Filters, conv: Filters, guests: list[Filters], before: int) -> tuple[Filters, Filters]:
    """Carry 1x1 guests through a reducer and its kxk convolution, with the same output. Return both layers.

    The reducer gains the guests' filters, and the convolution passes each on through a 1 at its centre, which changes
    nothing as relu(relu(x)) = relu(x). before: how many of the guests' outputs come before the convolution's own.
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


def join(conv: Filters, guests: list[Filters], before: int) -> Filters:
    """Return a kxk convolution with 1x1 guests of the same input added as filters of one centre tap each. Exact."""
    kernel_h, kernel_w = conv[0].shape[2:]
    guest_w = np.concatenate([w for w, _ in guests])
    taps = np.zeros((*guest_w.shape[:2], kernel_h, kernel_w), np.float32)
    taps[:, :, kernel_h // 2, kernel_w // 2] = guest_w[:, :, 0, 0]
    return _ordered(conv[0], taps, before), _ordered(conv[1], np.concatenate([b for _, b in guests]), before)


def _ordered(own: np.ndarray, guests: np.ndarray, before: int) -> np.ndarray:
    return np.concatenate([guests[:before], own, guests[before:]])
