"""How every pass is tested: `apply_and_check`, and real Caffe as the judge of what it says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from deepmerge.formats.write import write_pair
from deepmerge.graph.check import require
from deepmerge.graph.graph import Graph
from deepmerge.graph.shapes import infer_shapes
from deepmerge.passes.support.base import Applied, Options, Pass, run
from tests.helpers import apart, feeds, network, structure

EXACT = 1e-5  # of the output's range: what float rounding alone may do


@dataclass
class Checked:
    """What became of a network. error: how far its outputs are from the original's in real Caffe, if compared."""

    original: Graph
    graph: Graph
    applied: Applied
    error: float = 0.0

    def types(self) -> Counter:
        return Counter(layer.type for layer in self.graph.layers if layer.type != "Input")

    def layer(self, name: str):
        return self.graph.layer(name)


class Judge:
    """Runs networks in real Caffe: one process for all, a new one where a failed check has ended it."""

    def __init__(self, engine, folder: Path):
        self.engine, self.folder, self.worker = engine, folder, None

    def __call__(self, graph: Graph, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if self.worker is None or not self.worker.process.alive:
            self.worker = self.engine.start()
        files = self.folder / "deploy.prototxt", self.folder / "weights.caffemodel"
        write_pair(graph, *files)
        with self.worker.load(*files) as session:
            return session.forward(values)


@pytest.fixture(scope="session")
def caffe(real_caffe, tmp_path_factory):
    judge = Judge(real_caffe, tmp_path_factory.mktemp("caffe"))
    yield judge
    if judge.worker is not None:
        judge.worker.close()


@pytest.fixture
def apply_and_check(tmp_path, caffe) -> Callable[..., Checked]:
    """apply_and_check(text or Graph, PassClass, … , left={type: number}, within=tolerance, **options).

    What `checked` asserts, and that outputs in real Caffe are within `within` of their range (None: not compared).
    """

    def check(net, *passes: type[Pass], within: float | None = EXACT, **options) -> Checked:
        found = checked(tmp_path, net, *passes, **options)
        if within is not None:
            found.error = compared(caffe, found)
            assert found.error <= within, f"outputs are {found.error:.2e} of their range apart"
        return found

    return check


@pytest.fixture
def runs_and_keeps_shapes(tmp_path, caffe) -> Callable[..., Checked]:
    """What `checked` asserts, and that real Caffe runs the network: outputs of the same shapes, finite, not constant.

    For what changes the output as much as it likes; what it changes is for the test to assert.
    """

    def check(net, *passes: type[Pass], **options) -> Checked:
        found = checked(tmp_path, net, *passes, **options)
        found.error = compared(caffe, found)
        return found

    return check


def checked(tmp_path: Path, net: str | Graph, *passes: type[Pass], left=None, blind=True, **options) -> Checked:
    """Run the passes on a copy, after asserting what holds of every rewrite.

    The copy is a sound graph; inputs and outputs have kept names and shapes; the layers left are those of `left`; the
    original has not changed; a second run changes nothing; without weights the same structure comes out
    (`blind=False`: the pass has to see weights).
    """
    graph = network(tmp_path, net) if isinstance(net, str) else net
    before = snapshot(graph)
    made, applied = rewritten(graph, passes, options)
    assert snapshot(graph) == before, "the original has changed"
    assert applied.changes, f"nothing was done: {applied.refusals}"
    require(made)
    assert ends(made) == ends(graph)
    assert rewritten(made, passes, options)[1].changes == []
    if blind:
        assert structure(rewritten(without_weights(graph), passes, options)[0]) == structure(made)
    found = Checked(graph, made, applied)
    if left is not None:
        assert found.types() == Counter(left)
    return found


def compared(caffe: Judge, found: Checked) -> float:
    """How far the outputs are apart in real Caffe, as a share of their range."""
    values = feeds(found.original)
    return apart(caffe(found.original, values), caffe(found.graph, values))


@pytest.fixture
def refusals(tmp_path) -> Callable[..., dict[str, str]]:
    """refusals(text or Graph, PassClass, …, **options): {layer: reason}, after asserting that nothing was changed."""

    def check(net, *passes: type[Pass], **options) -> dict[str, str]:
        graph = network(tmp_path, net) if isinstance(net, str) else net
        before = snapshot(graph)
        made, applied = rewritten(graph, passes, options)
        assert applied.changes == [] and snapshot(made) == before
        return {refusal.layer: refusal.reason for refusal in applied.refusals}

    return check


def rewritten(graph: Graph, passes, options: dict) -> tuple[Graph, Applied]:
    copy = graph.copy()
    return copy, run([one(Options(**options)) for one in passes], copy)


def without_weights(graph: Graph) -> Graph:
    copy = graph.copy()
    for layer in copy.layers:
        layer.weights = []
    return copy


def ends(graph: Graph) -> tuple[dict, dict]:
    """Names and shapes of inputs and outputs (the outputs' order may change)."""
    shapes = infer_shapes(graph)
    return {b.name: shapes[b] for b in graph.inputs}, {b.name: shapes[b] for b in graph.outputs}


def snapshot(graph: Graph) -> list:
    """All there is to a graph, weights included."""
    return [(*row, [w.tobytes() for w in x.weights]) for row, x in zip(structure(graph), graph.layers, strict=True)]
