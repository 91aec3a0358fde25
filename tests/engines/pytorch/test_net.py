"""TorchNet: partial execution, versions of blobs, shared weights, store, memory, errors."""

from __future__ import annotations

import copy
import gc
import weakref

import numpy as np
import pytest

from deepmerge.engines.ort import OrtEngine
from deepmerge.engines.pytorch import TorchNet
from deepmerge.errors import EngineError, GraphError, ShapeError
from deepmerge.formats.read.network import read_network
from tests.engines.pytorch.cases import compare, images, inputs, judge, layer, network, torch

SHAPE = (2, 3, 6, 5)
CONV = "convolution_param { num_output: 4 kernel_size: 3 pad: 1 }"
CHAIN = (
    inputs(SHAPE)
    + layer("conv1", "Convolution", CONV)
    + layer("relu1", "ReLU", "", "conv1", "conv1")
    + layer("conv2", "Convolution", CONV, "conv1")
    + layer("norm", "LRN", "", "conv2")
    + layer("relu2", "ReLU", "", "norm", "norm")
    + layer("left", "Convolution", CONV, "norm")
    + layer("right", "Power", "power_param { scale: 2 }", "norm")
    + layer("sum", "Eltwise", "", "left right")
)


@pytest.fixture
def chain(tmp_path):
    return network(tmp_path, CHAIN)


@pytest.fixture
def fed():
    return {"data": torch.from_numpy(images(SHAPE)["data"])}


def ran(net, fed, wanted) -> list[str]:
    return [turn.step.layer.name for turn in net.schedule(tuple(fed), tuple(wanted)).turns]


def test_only_what_is_needed_runs(chain, fed):
    net = TorchNet(chain)
    assert net.inputs == {"data": SHAPE} and net.outputs == ("sum",)
    assert ran(net, ["data"], ["conv1"]) == ["conv1", "relu1"]
    assert ran(net, ["data"], ["right"]) == ["conv1", "relu1", "conv2", "norm", "relu2", "right"]
    assert ran(net, ["data", "conv2"], ["right", "conv1"]) == ["conv1", "relu1", "norm", "relu2", "right"]
    assert ran(net, ["norm"], ["sum"]) == ["left", "right", "sum"]
    assert ran(net, ["norm"], ["norm"]) == []
    assert net.schedule(("norm",), ("sum",)) is net.schedule(("norm",), ("sum",))


def test_interior_feeds_give_what_the_whole_gives(chain, fed):
    net = TorchNet(chain)
    whole = net(fed, ["conv1", "conv2", "norm", "left", "sum", "data"])
    assert list(whole) == ["conv1", "conv2", "norm", "left", "sum", "data"]
    for name in ("conv1", "conv2", "norm"):
        part = net({name: whole[name]}, ["sum", name])
        torch.testing.assert_close(part["sum"], whole["sum"], rtol=0, atol=0)
        torch.testing.assert_close(part[name], whole[name], rtol=0, atol=0)
    two = net({"left": whole["left"], "norm": torch.zeros(7, 4, 6, 5)[:2]}, ["sum"])
    torch.testing.assert_close(two["sum"], whole["left"])


def test_a_name_means_the_last_version_and_an_input_is_fed_as_its_first(tmp_path):
    text = (
        inputs((2, 3))
        + layer("shift", "Power", "power_param { shift: -1 }", "data", "data")
        + layer("relu", "ReLU", "", "data", "data")
    )
    text += layer("out", "Power", "power_param { scale: 3 }", "data")
    net, x = TorchNet(network(tmp_path, text)), torch.tensor([[0.0, 1, 2], [3, -1, 0.5]])
    found = net({"data": x}, ["data", "out"])
    torch.testing.assert_close(found["data"], (x - 1).relu())
    torch.testing.assert_close(found["out"], 3 * (x - 1).relu())


def test_feeds_are_not_written_to(chain, fed):
    """Layers in place write into memory of their own only, with gradients and without."""
    net, before = TorchNet(chain), fed["data"].clone()
    conv1 = torch.randn(2, 4, 6, 5)
    kept = conv1.clone()
    with torch.no_grad():
        net({"conv1": conv1, **fed}, ["sum", "conv1"])
    net({"conv1": conv1, **fed}, ["sum"])
    assert torch.equal(conv1, kept) and torch.equal(fed["data"], before)


def test_a_segment_trains_by_itself(chain):
    """Gradients reach the segment's weights alone."""
    net = TorchNet(chain)
    net({"conv1": torch.randn(2, 4, 6, 5)}, ["norm"])["norm"].square().sum().backward()
    assert {name: net.blobs_of(name)[0].grad is not None for name in ("conv1", "conv2", "left")} == {
        "conv1": False,
        "conv2": True,
        "left": False,
    }


def test_dead_activations_go(chain, fed):
    """Without gradients, a blob's memory is given back as soon as its last reader is done."""
    net, alive, seen = TorchNet(chain), [], []

    def watch(run):
        def watched(step, *bottoms):
            gc.collect()
            alive.append(sum(ref() is not None for ref in seen))
            made = run(step, *bottoms)
            seen.extend(weakref.ref(t) for t in ([made] if isinstance(made, torch.Tensor) else made))
            return made

        return watched

    for step in net._steps.values():
        step.run, step.overwrite = watch(step.run), None
    with torch.no_grad():
        net(fed)
    # before conv1 … sum: never more than what is still to be read
    assert alive == [0, 1, 1, 1, 1, 1, 2, 2]


def test_layers_share_by_name(tmp_path, worker):
    """Both get the sum of the gradients, as in Caffe; the second stores none of its own where it had none."""
    shared = 'param { name: "w" } param { name: "b" }'
    text = inputs(SHAPE) + layer("one", "Convolution", f"{shared} {CONV.replace('4', '3')}")
    text += layer("two", "Convolution", f"{shared} {CONV.replace('4', '3')}", "one")
    net = judge(worker, tmp_path, text, images(SHAPE))
    assert net.blobs_of("one")[0] is net.blobs_of("two")[0] and len(list(net.parameters())) == 2
    graph = read_network(tmp_path / "net.prototxt", tmp_path / "net.caffemodel")
    graph.layer("two").weights = []
    net = TorchNet(graph)
    assert net.blobs_of("one")[1] is net.blobs_of("two")[1]
    net.store()
    assert graph.layer("two").weights == [] and len(graph.layer("one").weights) == 2


def test_layers_share_a_blob_in_two_shapes(tmp_path):
    """share_mode: PERMISSIVE: each has the values in its own shape; they get the sum of the gradients."""
    spec = 'param { name: "w" share_mode: PERMISSIVE } convolution_param { num_output: %d kernel_size: 1 bias_term: false }'
    text = inputs(SHAPE, (2, 4, 6, 5)) + layer("one", "Convolution", spec % 4)
    graph = network(tmp_path, text + layer("two", "Convolution", spec % 3, "data1"))
    weights = graph.layer("one").weights[0]
    graph.layer("two").weights = [weights.reshape(3, 4, 1, 1)]
    net, fed = TorchNet(graph), images(SHAPE, (2, 4, 6, 5))
    found = net({name: torch.from_numpy(array) for name, array in fed.items()})
    gradient = np.zeros(12)
    for (name, top), array in zip(found.items(), fed.values(), strict=True):
        outputs, channels = top.shape[1], array.shape[1]
        expected = np.einsum("oi,nihw->nohw", weights.reshape(outputs, channels), array)
        compare(name, top.detach().numpy(), expected)
        gradient += np.tile(array.sum((0, 2, 3)), outputs)
    sum(top.sum() for top in found.values()).backward()
    assert net.blobs_of("one")[0] is net.blobs_of("two")[0]
    np.testing.assert_allclose(net.blobs_of("two")[0].grad.numpy().ravel(), gradient, rtol=1e-4, atol=1e-4)
    net.store()
    assert [graph.layer(name).weights[0].shape for name in ("one", "two")] == [(4, 3, 1, 1), (3, 4, 1, 1)]


def test_a_layer_has_no_more_blobs_than_it_needs(tmp_path):
    """Although its second ParamSpec names a blob, which only the first layer has."""
    shared = 'param { name: "w" } param { name: "b" }'
    alone = f"{shared} {CONV.replace('4', '3').replace('pad', 'bias_term: false pad')}"
    text = inputs(SHAPE) + layer("one", "Convolution", f"{shared} {CONV.replace('4', '3')}")
    graph = network(tmp_path, text + layer("two", "Convolution", alone, "one"))
    net = TorchNet(graph)
    assert net.blobs_of("two") == net.blobs_of("one")[:1]
    with torch.no_grad():
        net.blobs_of("two")[0].mul_(2)
    net.store()
    np.testing.assert_array_equal(graph.layer("two").weights[0], graph.layer("one").weights[0])


def test_store(chain, fed):
    net, other = TorchNet(chain), chain.copy()
    before = [w.copy() for w in chain.layer("conv2").weights]
    with torch.no_grad():
        for blob in net.blobs_of("conv2"):
            blob.mul_(2)
    for ours, theirs in zip(chain.layer("conv2").weights, before, strict=True):
        np.testing.assert_array_equal(ours, theirs)  # the parameters are copies
    net.store()
    for ours, theirs in zip(chain.layer("conv2").weights, before, strict=True):
        np.testing.assert_array_equal(ours, 2 * theirs)
        assert ours.dtype == np.float32 and ours.flags.c_contiguous
    np.testing.assert_array_equal(other.layer("conv2").weights[0], before[0])
    other.remove(other.layer("sum"))
    net.store(other)  # a graph with other layers besides
    np.testing.assert_array_equal(other.layer("conv2").weights[0], 2 * before[0])
    with torch.no_grad():
        net.blobs_of("conv2")[0].zero_()
    assert chain.layer("conv2").weights[0].any()
    with OrtEngine().load(chain) as session:
        compare(
            "sum", TorchNet(chain)(fed)["sum"].detach().numpy(), session.forward({"data": fed["data"].numpy()})["sum"]
        )


def test_changes_to_the_graph_do_not_reach_the_net(chain, fed):
    net = TorchNet(chain)
    before = net(fed)["sum"]
    for one in chain.layers:
        one.weights, one.params = [], None
    assert torch.equal(net(fed)["sum"], before)


def test_a_state_dict_and_a_deep_copy(chain, fed):
    net = TorchNet(chain)
    other = copy.deepcopy(net)
    with torch.no_grad():
        other.blobs_of("conv1")[0].zero_()
    assert not torch.equal(net(fed)["sum"], other(fed)["sum"])
    other.load_state_dict(net.state_dict())
    assert torch.equal(net(fed)["sum"], other(fed)["sum"])


def test_equal_runs_are_equal_to_the_bit(models):
    folder = models / "inception_mini"
    graph = read_network(folder / "inception_mini.prototxt", folder / "inception_mini.caffemodel")
    runs = []
    for _ in range(2):
        net = TorchNet(graph, "TRAIN", seed=4)
        optimizer = torch.optim.Adam(net.parameters(), 1e-3)
        for step in range(2):
            x = torch.from_numpy(images((4, 3, 32, 32), seed=step)["data"])
            optimizer.zero_grad()
            net({"data": x})["prob"].square().sum().backward()
            optimizer.step()
        runs.append([blob.detach().clone() for blob in net.parameters()])
    assert all(map(torch.equal, *runs))


@pytest.mark.parametrize(
    ("feeds", "blobs", "message"),
    [
        (["dta"], None, "^the network has no blob 'dta'; did you mean 'data'"),
        (["data"], ["smu"], "^the network has no blob 'smu'; did you mean 'sum'"),
        (["conv1"], ["conv1", "sum", "data"], "^input 'data' gets no values$"),
        ([], ["norm"], "^input 'data' gets no values$"),
    ],
)
def test_wrong_feeds_and_blobs_are_named(chain, feeds, blobs, message):
    with pytest.raises(EngineError, match=message):
        TorchNet(chain)({name: torch.zeros(2, 4, 6, 5) for name in feeds}, blobs)


def test_what_fails_names_the_layer(chain):
    with pytest.raises(EngineError, match=r"^layer 'conv2' \(Convolution\): .*channels") as caught:
        TorchNet(chain)({"conv1": torch.zeros(2, 5, 6, 5)})
    assert "\n" not in str(caught.value)


def test_what_cannot_be_made(tmp_path, chain):
    with pytest.raises(EngineError, match="phase 'train' is not one of TEST, TRAIN"):
        TorchNet(chain, "train")
    with pytest.raises(GraphError, match="no layer 'conv9'"):
        TorchNet(chain).blobs_of("conv9")
    chain.layer("conv2").weights = []
    with pytest.raises(
        EngineError, match=r"^layer 'conv2' \(Convolution\) has no weights; give the network its caffemodel$"
    ):
        TorchNet(chain)
    chain.layer("conv2").weights = [np.zeros((4, 4, 3, 2), np.float32), np.zeros(4, np.float32)]
    with pytest.raises(ShapeError, match="layer 'conv2' .*does the caffemodel belong"):
        TorchNet(chain)
    lstm = inputs((4, 2, 5), (4, 2)) + layer("l", "LSTM", "recurrent_param { num_output: 3 }", "data data1")
    with pytest.raises(EngineError, match=r"^layer 'l' \(LSTM\): engine 'torch' does not have this type"):
        TorchNet(network(tmp_path, lstm))
    (tmp_path / "odd.prototxt").write_text(inputs((4, 2)) + layer("odd", "Oddity"))
    with pytest.raises(
        EngineError, match=r"^layer 'odd' \(Oddity\): the type is not known, so engine 'torch' cannot run it"
    ):
        TorchNet(read_network(tmp_path / "odd.prototxt"))
