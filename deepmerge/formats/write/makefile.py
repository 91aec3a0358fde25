"""finetune.mk, which fine-tunes the approximate steps one after the other, each from the previous one's weights."""

from __future__ import annotations

from deepmerge.names import for_make

_HEAD = """\
# Fine-tunes {what}.
#   make -f finetune.mk CAFFE=/path/to/caffe ARGS="-gpu 0"
# The result is {done}, to be used with deploy.prototxt. What is done is not done again.
# Caffe runs in the folder of each solver: relative paths in train_val.prototxt start from there.
CAFFE ?= caffe
ARGS ?=

.PHONY: all
.DELETE_ON_ERROR:
all: {done}
"""

_TRAIN = """
{folder}{done}: {needs}
\tcd ./{folder} && $(CAFFE) train -solver solver.prototxt -weights {weights} $(ARGS)
\tcd ./{folder} && cp "$$(ls -t {snapshots} | head -n 1)" {done}
"""


def finetune_make(folders: list[str], prefix: str = "snapshot", ending: str = ".caffemodel") -> str:
    """Return the Makefile's text.

    folders: names of the step folders in steps/, in order; [] trains the final network. prefix, ending: of the solvers'
    snapshots (snapshot_prefix, snapshot_format).
    """
    done = f"finetuned{ending}"
    snapshots = f"{for_make(prefix)}_iter_*{ending}"
    what = "the steps in order, each from the weights that the step before it ended with" if folders else "the network"
    text = _HEAD.format(what=what, done=done)
    if not folders:
        return text + _TRAIN.format(
            folder="", done=done, needs="weights.caffemodel", weights="weights.caffemodel", snapshots=snapshots
        )
    before = ""
    for name in folders:
        folder = f"steps/{name}/"
        needs, weights = f"{folder}weights.caffemodel", "weights.caffemodel"
        if before:
            needs, weights = (
                f"steps/{before}/{done} {folder}new_layers.caffemodel",
                f"../{before}/{done},new_layers.caffemodel",
            )
        text += _TRAIN.format(folder=folder, done=done, needs=needs, weights=weights, snapshots=snapshots)
        before = name
    return text + f"\n{done}: steps/{before}/{done}\n\tcp $< $@\n"
