"""All exact passes at once on networks drawn at random, in real Caffe: whatever they find to do, outputs stay."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from deepmerge.graph.check import require
from deepmerge.passes.embed_branches import EmbedBranches
from deepmerge.passes.merge_branches import MergeBranches
from deepmerge.passes.registry import PASSES, make
from deepmerge.passes.support.base import Options, run
from tests.helpers import apart, feeds, inputs, layer, network, structure
from tests.passes.module_nets import ENTRY, concat, plain, point, pooled, reduced

EXACT = [name for name, one in PASSES.items() if one.exact]
IN_PLACE = ("BatchNorm", "Scale", "Bias", "ReLU", "Dropout")


@dataclass
class Drawn:
    """A network's text while it grows. live: blob → (channels, height, width); read: blobs that a layer has read."""

    rng: np.random.Generator
    text: str = ""
    live: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    read: set[str] = field(default_factory=set)
    count: int = 0

    def draw(self, values):
        return values[int(self.rng.integers(len(values)))]

    def add(self, kind: str, bottoms: list[str], shape: tuple[int, int, int], params: str = "") -> None:
        self.count += 1
        name = f"{kind.lower()}{self.count}"
        in_place = kind in IN_PLACE and bottoms[0] not in self.read and self.rng.random() < 0.6
        top = bottoms[0] if in_place and bottoms[0] != "data" else name
        self.text += layer(name, kind, " ".join(bottoms), params, top)
        self.read.update(b for b in bottoms if b != top)
        self.live[top] = shape


def grown(seed: int, layers: int = 14) -> str:
    net = Drawn(np.random.default_rng(seed))
    net.live["data"] = (6, 9, 8)
    net.text = inputs((2, 6, 9, 8))
    for _ in range(layers):
        fresh = [b for b in net.live if b not in net.read]
        bottom = net.draw(fresh if fresh and net.rng.random() < 0.8 else list(net.live))
        one_more(net, bottom, *net.live[bottom])
    return net.text


def one_more(net: Drawn, bottom: str, channels: int, height: int, width: int) -> None:
    shape = channels, height, width
    kind = net.draw(["Convolution"] * 4 + ["BatchNorm"] * 2 + ["Scale"] * 2 + ["ReLU"] * 3 + OTHERS)
    if kind == "Convolution":
        group = net.draw([1, 1, 2]) if channels % 2 == 0 else 1
        if net.rng.random() < 0.5 or min(height, width) < 3:
            window, size = f"kernel_size: 1 group: {group}", (height, width)
        else:
            window, size = net.draw([
                (f"kernel_h: 3 kernel_w: 1 pad_h: 1 pad_w: 0 group: {group}", (height, width)),
                ("kernel_size: 3 pad: 1", (height, width)),
                (f"kernel_h: 2 kernel_w: 3 group: {group}", (height - 1, width - 2)),
            ])  # fmt: skip
        outputs = net.draw([4, 6, 8])
        bias = net.draw(["true", "true", "false"])
        net.add(kind, [bottom], (outputs, *size), f"num_output: {outputs} bias_term: {bias} {window}")
    elif kind == "Pooling" and min(height, width) >= 4:
        params = f"pool: {net.draw(['MAX', 'AVE'])} kernel_size: 2 stride: 2"
        net.add(kind, [bottom], (channels, -(-height // 2), -(-width // 2)), params)
    elif kind == "Same":
        net.add(net.draw(["Power", "Dropout"]), [bottom], shape)
    elif kind == "Eltwise" and (others := [b for b, s in net.live.items() if s == shape and b != bottom]):
        net.add(kind, [bottom, net.draw(others)], shape)
    elif kind == "Concat" and (others := [b for b, s in net.live.items() if s[1:] == shape[1:] and b != bottom]):
        other = net.draw(others)
        net.add(kind, [bottom, other], (channels + net.live[other][0], height, width))
    else:
        params = {"BatchNorm": "eps: 1e-4", "Scale": net.draw(["bias_term: true", "axis: 1"])}
        kind = kind if kind in ("BatchNorm", "Scale", "Bias", "TanH") else "ReLU"
        net.add(kind, [bottom], shape, params.get(kind, ""))


OTHERS = ["Bias", "Pooling", "Pooling", "Same", "Eltwise", "Concat", "TanH"]


@pytest.mark.parametrize("seed", range(60))
def test_outputs_stay(tmp_path, caffe, seed):
    graph = network(tmp_path, grown(seed), seed)
    made = graph.copy()
    applied = run(make(EXACT, Options(costly=True)), made)
    require(made)
    assert all(change.exact for change in applied.changes)
    values = feeds(graph)
    before, after = caffe(graph, values), caffe(made, values)
    names = {name for name, array in before.items() if np.ptp(array) > 0 or name not in after}  # all dead: constant
    assert before.keys() == after.keys()
    assert apart({n: before[n] for n in names}, {n: after[n] for n in names}) <= 2e-5
    again = made.copy()
    assert run(make(EXACT, Options(costly=True)), again).changes == [] and structure(again) == structure(made)


def test_they_find_something_to_do(tmp_path):
    """The networks above are no idle ones: every kind of change is among them."""
    done = set()
    for seed in range(60):
        graph = network(tmp_path, grown(seed), seed)
        done |= {change.pass_name for change in run(make(EXACT, Options(costly=True)), graph).changes}
    assert done >= {
        "fold_batchnorm",
        "fold_scale",
        "remove_identity",
        "remove_dropout",
        "compose_convolutions",
        "swap_relu_pool",
    }


def module(seed: int) -> str:
    """Three to six branches of any kind, in any order, with mostly the same activation."""
    rng = np.random.default_rng(seed)
    text, names = ENTRY, []
    for number in range(int(rng.integers(3, 7))):
        name, size = f"b{number}", int(rng.integers(1, 7))
        act = "TanH" if rng.random() < 0.15 else "ReLU"
        kernel = ["3x3", "3x5", "5x5"][int(rng.integers(3))]
        text += [
            point(name, size, act),
            plain(name, size, kernel, act),
            reduced(name, int(rng.integers(1, 5)), size, kernel, act),
            pooled(name, size, act),
        ][int(rng.choice(4, p=[0.4, 0.2, 0.25, 0.15]))]
        names.append(name)
    return text + concat(*(names[i] for i in rng.permutation(len(names))))


@pytest.mark.parametrize("seed", range(40))
def test_modules_at_full_width_stay(tmp_path, caffe, seed):
    graph = network(tmp_path, module(seed), seed)
    made = graph.copy()
    applied = run([EmbedBranches(Options(costly=True))], made)
    require(made)
    values = feeds(graph)
    assert apart(caffe(graph, values), caffe(made, values)) <= 1e-5
    assert all(change.exact for change in applied.changes)


@pytest.mark.parametrize("seed", range(10))
def test_modules_made_narrower_run(tmp_path, caffe, seed):
    """Names and shapes of the outputs stay, without weights the structure is the same, and Caffe takes it."""
    graph = network(tmp_path, module(seed), seed)
    made, blind = graph.copy(), network(tmp_path, module(seed), seed=None)
    for one in (made, blind):
        run([MergeBranches(Options(width=0.5, costly=True))], one)
        require(one)
    values = feeds(graph)
    apart(caffe(graph, values), caffe(made, values))  # which asserts finite outputs of the same shapes
    assert structure(made) == structure(blind)


def test_modules_find_something_to_do(tmp_path):
    changes = [run([EmbedBranches(Options(costly=True))], network(tmp_path, module(s), s)).changes for s in range(40)]
    assert sum(map(bool, changes)) >= 20
