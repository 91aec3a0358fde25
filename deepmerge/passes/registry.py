"""All passes, in the order in which they are shown and, within a step, run."""

from __future__ import annotations

import difflib

from deepmerge.errors import PassError
from deepmerge.passes.compose_convolutions import ComposeConvolutions
from deepmerge.passes.decompose_tucker import DecomposeTucker
from deepmerge.passes.embed_branches import EmbedBranches
from deepmerge.passes.fold_batchnorm import FoldBatchnorm
from deepmerge.passes.fold_scale import FoldScale
from deepmerge.passes.join_siblings import JoinSiblings
from deepmerge.passes.merge_branches import MergeBranches
from deepmerge.passes.merge_lrn import MergeLrn
from deepmerge.passes.merge_pooling import MergePooling
from deepmerge.passes.remove_dropout import RemoveDropout
from deepmerge.passes.remove_identity import RemoveIdentity
from deepmerge.passes.support.base import Options, Pass
from deepmerge.passes.swap_relu_pool import SwapReluPool

PASSES: dict[str, type[Pass]] = {
    cls.name: cls
    for cls in (
        RemoveIdentity,
        RemoveDropout,
        FoldBatchnorm,
        FoldScale,
        ComposeConvolutions,
        SwapReluPool,
        JoinSiblings,
        EmbedBranches,
        MergeLrn,
        MergePooling,
        MergeBranches,
        DecomposeTucker,
    )
}

# Exact passes that tidy up the whole network, before and after the folds. swap_relu_pool is not among them, as it costs
# time in Caffe (see there); a recipe's cleanup list may name it.
CLEANUP = ("remove_identity", "remove_dropout", "compose_convolutions")
FOLDS = ("fold_batchnorm", "fold_scale")


def make(names, options: Options) -> list[Pass]:
    """The passes of these names; PassError with candidates for a name that is none."""
    for name in names:
        if name not in PASSES:
            near = difflib.get_close_matches(name, PASSES, 3, 0.4)
            hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(PASSES)}"
            raise PassError(f"there is no pass {name!r}; {hint}")
    return [PASSES[name](options) for name in names]
