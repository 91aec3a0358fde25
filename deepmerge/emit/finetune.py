"""finetune.mk: the approximate steps fine-tuned one after the other, each from the last one's weights."""

from __future__ import annotations

_HEAD = """\
# Fine-tunes the steps in order, each from the weights that the step before it ended with.
#   make -f finetune.mk CAFFE=/path/to/caffe ARGS="-gpu 0"
# The result is finetuned.caffemodel, to be used with deploy.prototxt. A step that is done is not done again.
CAFFE ?= caffe
ARGS ?=

.PHONY: all
.DELETE_ON_ERROR:
all: finetuned.caffemodel
"""

_TRAIN = """
{target}: {needs}
\tcd {folder} && $(CAFFE) train -solver solver.prototxt -weights {weights} $(ARGS)
\tcp "$$(ls -t {folder}/snapshot_iter_*.caffemodel | head -n 1)" $@
"""


def finetune_make(folders: list[str]) -> str:
    """The Makefile's text. folders: names of the step folders under steps/, in order; without any, OUT itself is trained."""
    if not folders:
        return _HEAD + _TRAIN.format(target="finetuned.caffemodel", needs="weights.caffemodel", folder=".", weights="weights.caffemodel")
    text, before = _HEAD, ""
    for folder in folders:
        here = f"steps/{folder}"
        if before:
            needs, weights = f"steps/{before}/finetuned.caffemodel", f"../{before}/finetuned.caffemodel,new_layers.caffemodel"
        else:
            needs = weights = "weights.caffemodel"
            needs = f"{here}/{weights}"
        text += _TRAIN.format(target=f"{here}/finetuned.caffemodel", needs=needs, folder=here, weights=weights)
        before = folder
    return text + f"\nfinetuned.caffemodel: steps/{before}/finetuned.caffemodel\n\tcp $< $@\n"
