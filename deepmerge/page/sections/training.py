"""How to get the accuracy back: commands to copy."""

from __future__ import annotations

from deepmerge.out.read import Converted
from deepmerge.page.markup import Html, code, element, join


def training(converted: Converted) -> Html:
    """Return the ways to get the accuracy back; after an exact conversion, that nothing is to be done."""
    if not converted.approximate:
        return element("p", "Every change was exact: the network computes what it did, and nothing has to be trained.")
    parts = [
        element(
            "p",
            "Run these beside the folder that holds this page (here called OUT). Replace the words in capitals.",
        ),
        _way(
            "Without labels",
            "Merged layers are fitted to what the original computes, then the whole network to its outputs.",
            "deepmerge recover OUT --data folder:IMAGES -o OUT2",
        ),
        _way(
            "With labels",
            "Follows solver.prototxt: new layers learn ten times as fast as old ones.",
            "deepmerge finetune OUT --data folder:IMAGES --test-data folder:TEST_IMAGES -o OUT2",
        ),
    ]
    if converted.steps:
        text = (
            "Step by step, each from the weights that the one before it ended with; the result is finetuned.caffemodel."
        )
        parts.append(_way("With Caffe", text, "make -C OUT -f finetune.mk CAFFE=/path/to/caffe"))
    else:
        parts.append(_way("With Caffe", "In OUT.", "caffe train -solver solver.prototxt -weights weights.caffemodel"))
    parts.append(_way("And measure it", "Before and after.", "deepmerge eval OUT --data folder:TEST_IMAGES --top 1,5"))
    return join(parts, "\n")


def _way(title: str, text: str, command: str) -> Html:
    pre = element("pre", code(command), tabindex="0")
    button = element(
        "button", "Copy", type="button", class_="copy", aria_label=f"Copy the command: {command}", hidden=True
    )
    line = element("div", join([pre, button]), class_="command")
    return element("div", join([element("h3", title), element("p", text), line]), class_="way")
