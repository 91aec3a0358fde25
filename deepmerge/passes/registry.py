"""All passes, in the order in which lists show them and steps run them."""

from __future__ import annotations

from collections.abc import Iterable

from deepmerge.errors import PassError
from deepmerge.passes.compose_convolutions import ComposeConvolutions
from deepmerge.passes.convert_batchnorm import ConvertBatchnorm
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
from deepmerge.passes.split_pooling import SplitPooling
from deepmerge.passes.support.base import Options, Pass
from deepmerge.passes.swap_relu_pool import SwapReluPool
from deepmerge.text import did_you_mean

PASSES: dict[str, type[Pass]] = {
    cls.name: cls
    for cls in (
        RemoveIdentity,
        RemoveDropout,
        FoldBatchnorm,
        FoldScale,
        ConvertBatchnorm,
        ComposeConvolutions,
        SwapReluPool,
        JoinSiblings,
        SplitPooling,
        EmbedBranches,
        MergeLrn,
        MergePooling,
        MergeBranches,
        DecomposeTucker,
    )
}

# Exact passes that clean up the whole network before and after the folds. swap_relu_pool is not one of them, since it
# costs time in Caffe; a recipe's cleanup list may name it.
CLEANUP = ("remove_identity", "remove_dropout", "compose_convolutions")
FOLDS = ("fold_batchnorm", "fold_scale", "convert_batchnorm")


def make(names: Iterable[str], options: Options) -> list[Pass]:
    """Return the passes of these names; PassError with candidates for an unknown name."""
    for name in names:
        if name not in PASSES:
            raise PassError(f"there is no pass {name!r}", remedy=did_you_mean(name, PASSES))
    return [PASSES[name](options) for name in names]
