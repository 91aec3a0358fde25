"""ONNX Runtime in int8, to measure times with: any network as its model-int8.onnx would be, without images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from deepmerge.engines.ort import OnnxSession, OrtEngine
from deepmerge.engines.quantize import quantize

if TYPE_CHECKING:
    from deepmerge.graph import Graph

LARGEST = 128.0  # of the noise


class OrtInt8Engine(OrtEngine):
    """ONNX Runtime in int8, with LRN written out. Ranges come from noise: times are right, answers are not."""

    name = "ort-int8"

    def load(self, graph: Graph, threads: int = 1) -> OnnxSession:
        """Load the network in int8. EngineError if ONNX Runtime cannot quantize it."""
        from deepmerge.formats.onnx.batch import known_shapes

        shapes, rng = known_shapes(graph), np.random.default_rng(0)
        noise = {b.name: rng.uniform(-LARGEST, LARGEST, shapes[b]).astype(np.float32) for b in graph.inputs}
        return OnnxSession(quantize(graph, [noise], 1), graph, threads)
