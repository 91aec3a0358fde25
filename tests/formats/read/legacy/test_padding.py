"""Row 2: V0's padding layers, as Caffe takes them out."""

from __future__ import annotations

import pytest

from deepmerge.errors import ReadError
from deepmerge.formats.read import read_network
from tests.formats.read.legacy.judges import ours

pytestmark = pytest.mark.pitfall("row", 2)

INPUT = 'input: "a" input: "b" input_dim: [1, 3, 8, 9, 1, 3, 8, 9]\n'


def layer(kind: str, bottoms: str, tops: str, fields: str = "") -> str:
    name = (tops or bottoms).split()[0]
    ends = [f'bottom: "{b}"' for b in bottoms.split()] + [f'top: "{t}"' for t in tops.split()]
    return f'layers {{ layer {{ name: "{name}" type: "{kind}" {fields} }} {" ".join(ends)} }}\n'


PAD = layer("padding", "a", "p", "pad: 2")
CONV = "num_output: 4 kernelsize: 5"
NETS = {
    "conv": PAD + layer("conv", "p", "c", CONV),
    "pool": layer("relu", "a", "a") + PAD + layer("pool", "p", "c", "kernelsize: 2"),
    "a pad of its own is lost": PAD + layer("conv", "p", "c", f"{CONV} pad: 7"),
    "padding without pad": layer("padding", "a", "p") + layer("conv", "p", "c", f"pad: 1 {CONV}"),
    "read twice": PAD + layer("conv", "p", "c", CONV) + layer("pool", "p", "d", "kernelsize: 3"),
    "read by nobody": PAD + layer("conv", "a", "c", CONV),
    "in place": layer("padding", "a", "a", "pad: 1") + layer("conv", "a", "c", CONV),
    "overwritten": PAD + layer("conv", "b", "p", CONV) + layer("relu", "p", "r"),
}


@pytest.mark.parametrize("text", NETS.values(), ids=NETS)
def test_as_real_caffe(judge, text):
    judge.agree(INPUT + text, warnings := [])
    assert warnings == []


def test_shapes(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(INPUT + NETS["conv"])
    graph = read_network(path)
    assert [layer.name for layer in graph.layers] == ["input", "c"]
    assert (graph.layer("c").params.pad, graph.layer("c").bottoms[0].name) == ((2, 2), "a")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (layer("conv", "q", "c", CONV), "2:1: layer 'c' (conv) reads 'q', which no layer before it makes"),
        (PAD + layer("relu", "p", "c"), "3:1: layer 'c' (relu) reads a padding layer; only conv and pool layers can; pad in another way"),
        (PAD + layer("padding", "p", "c"), "3:1: layer 'c' (padding) reads a padding layer; only conv and pool layers can; pad in another way"),
        (PAD + layer("conv", "b p", "c"), "3:1: layer 'c' (conv) reads a padding layer and other blobs; give it one bottom"),
        (PAD + layer("conv", "p p", "c"), "3:1: layer 'c' (conv) reads a padding layer and other blobs; give it one bottom"),
        (layer("padding", "a b", "p") + layer("conv", "p", "c"), "2:1: layer 'p' (padding) needs one bottom and one top, found 2 bottoms"),
        (layer("padding", "a", "p q") + layer("conv", "q", "c"), "2:1: layer 'p' (padding) needs one bottom and one top, found 2 tops"),
        (layer("padding", "", "p") + layer("conv", "p", "c"), "2:1: layer 'p' (padding) needs one bottom and one top, found 0 bottoms"),
    ],
)  # fmt: skip
def test_refusals(judge, text, message):
    assert judge.upgrade(INPUT + text) is None
    with pytest.raises(ReadError) as caught:
        ours(INPUT + text)
    assert str(caught.value) == f"net.prototxt:{message}"
