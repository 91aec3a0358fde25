"""A module's 1x1 branches go into its kxk branches at full width, output unchanged.

Given:   x ─┬ 1x1 (n1) ────────────┬ Concat → y
            └ 1x1 (r3) → 3x3 (n3) ─┘
Result:  x → 1x1 (r3 + n1) → 3x3 (n1 + n3) → y

The reducer gains the 1x1's filters, and the 3x3 an identity centre tap for each: ReLU(ReLU(x)) = ReLU(x).

Exact: yes, except for the order of summation. Needs an activation that is idempotent (ReLU, Clip), or none.
Source: the exact start of DeepRebirth's branch merging (AAAI 2018); kernel algebra of DBB (CVPR 2021).
"""

from __future__ import annotations

from dataclasses import replace

from deepmerge.passes.merge_branches import MergeBranches
from deepmerge.passes.support.base import Options


class EmbedBranches(MergeBranches):
    """Embed a module's 1x1 branches in its kxk branches at full width (--width full)."""

    name = "embed_branches"
    exact = True
    uses = ()

    def __init__(self, options: Options | None = None):
        super().__init__(replace(options or Options(), width="full", init="trained", absorb=("branches",)))
