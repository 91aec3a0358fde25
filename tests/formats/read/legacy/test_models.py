"""Row 2: the networks in models/ in V0, V1 and V2 form are one and the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deepmerge.errors import ReadError
from deepmerge.formats.read import read_network
from deepmerge.formats.read.caffemodel import read_caffemodel
from deepmerge.formats.read.prototxt import read_prototxt
from deepmerge.formats.write.prototxt import format_tree
from deepmerge.graph.shapes import expected_weights, infer_shapes
from deepmerge.graph.tree import Message, Quoted
from tests.formats.read.down_convert import NotThen, stored_v0, stored_v1, to_v0, to_v1
from tests.formats.read.legacy.judges import net_parameter, ours

pytestmark = pytest.mark.pitfall("row", 2)

MODELS = sorted(Path(__file__).parents[4].joinpath("models").glob("*/*.prototxt"))
NAMES = [f"{path.parent.name}/{path.stem}" for path in MODELS]
# V0 has no words for phases, global pooling, element-wise sums and whatever came later
V0 = {"alexnet/deploy", "googlenet/deploy", "inception_mini/inception_mini"}
# V1 has no words for BatchNorm and Scale; forks of its time added them
FORKS = {name for name in NAMES if name.startswith("resnet")}


def modern(path: Path) -> Message:
    """The definition with the name for its Input layer that Caffe gives it."""
    tree = read_prototxt(path)
    for layer in tree.values("layer"):
        if layer.value("type") == "Input":
            layer.set("name", Quoted("input"))
    return tree


def described(folder: Path, tree: Message) -> tuple:
    """Everything about the graph: layers, parameters, blobs, ParamSpecs, shapes of blobs and weights.

    Or why there is none: the size of inception_mini's training images stands in its database alone.
    """
    path = folder / "net.prototxt"
    path.write_text(format_tree(tree))
    try:
        graph = read_network(path)
    except ReadError as error:
        return (str(error).partition(": ")[2],)
    shapes = infer_shapes(graph)
    layers = [
        (
            layer.name,
            layer.type,
            layer.params,
            [(blob.name, shapes[blob]) for blob in layer.bottoms],
            [(blob.name, shapes[blob]) for blob in layer.tops],
            [sorted((f.name, str(f.value)) for f in spec) for spec in layer.param_specs],
            expected_weights(layer, [shapes[blob] for blob in layer.bottoms]),
        )
        for layer in graph.layers
    ]
    return graph.name, layers, [(m.value("name"), m.value("type")) for m in graph.train_layers]


@pytest.mark.parametrize("path", MODELS, ids=NAMES)
def test_one_graph_in_all_forms(tmp_path, path):
    name, now = f"{path.parent.name}/{path.stem}", modern(path)
    expected = described(tmp_path, now)
    assert described(tmp_path, to_v1(now)) == expected
    assert ours(format_tree(to_v1(now))) == ours(format_tree(now))
    if name in V0:
        assert described(tmp_path, to_v0(now)) == expected
        assert ours(format_tree(to_v0(now))) == ours(format_tree(now))
    else:
        with pytest.raises(NotThen):
            to_v0(now)


@pytest.mark.parametrize("path", MODELS, ids=NAMES)
def test_as_real_caffe_upgrades_them(judge, path):
    name, now = f"{path.parent.name}/{path.stem}", modern(path)
    if name in FORKS:
        assert judge.upgrade(format_tree(to_v1(now))) is None
    else:
        judge.agree(format_tree(to_v1(now)), warnings := [])
        assert warnings == []
    if name in V0:
        judge.agree(format_tree(to_v0(now)), warnings := [])
        assert warnings == []


@pytest.mark.pitfall("row", 10)
@pytest.mark.parametrize(("to_old", "to_stored"), [(to_v1, stored_v1), (to_v0, stored_v0)], ids=["V1", "V0"])
def test_old_pair_loads_alike_in_worker(tmp_path, models, worker, to_old, to_stored):
    """Row 10: a prototxt and a caffemodel of old, whose blobs have four axes, give the weights of today's pair."""
    folder = models / "inception_mini"
    prototxt, caffemodel = tmp_path / "old.prototxt", tmp_path / "old.caffemodel"
    stored = read_caffemodel(folder / "inception_mini.caffemodel")
    prototxt.write_text(format_tree(to_old(modern(folder / "inception_mini.prototxt"))))
    caffemodel.write_bytes(to_stored(stored))

    with worker.load(prototxt, caffemodel) as session:
        params = session.params()
        session.save(tmp_path / "saved.caffemodel")
    graph = read_network(prototxt, caffemodel)
    found = {layer.name: layer.weights for layer in graph.layers if layer.weights}
    assert found.keys() == params.keys() and graph.warnings == []
    for name, blobs in params.items():
        for ours_, theirs in zip(found[name], blobs, strict=True):
            assert ours_.shape == theirs.shape and np.array_equal(ours_, theirs)

    now = net_parameter((tmp_path / "saved.caffemodel").read_bytes())
    assert without_what_saving_adds(now) == ours(prototxt.read_text())


def without_what_saving_adds(net):
    """What net.save wrote of a network: without weights, phases, and the Split layers that Caffe puts in."""
    source = {top: layer.bottom[0] for layer in net.layer if layer.type == "Split" for top in layer.top}
    kept = [layer for layer in net.layer if layer.type != "Split"]
    for layer in kept:
        layer.bottom[:] = [source.get(bottom, bottom) for bottom in layer.bottom]
        layer.ClearField("blobs")
        layer.ClearField("phase")
    made = type(net)(name=net.name)
    made.layer.extend(kept)
    return made
