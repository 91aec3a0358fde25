"""OpenCV's dnn module as an engine. OpenCV 4 reads Caffe's files; OpenCV 5 no longer does."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deepmerge.engines.session import FileSession, refusals
from deepmerge.errors import EngineError
from deepmerge.temporary import temporary_folder

if TYPE_CHECKING:
    from deepmerge.graph import Graph

_REMEDY = 'pip install "opencv-python-headless<5"'


class OpencvEngine:
    """OpenCV's dnn module on the CPU. EngineError if OpenCV is not installed, or has no Caffe reader."""

    name = "opencv"

    def __init__(self) -> None:
        try:
            import cv2
        except ImportError:
            raise EngineError("engine 'opencv' needs OpenCV 4", remedy=_REMEDY) from None
        if not hasattr(getattr(cv2, "dnn", None), "readNetFromCaffe"):
            version = getattr(cv2, "__version__", "")
            raise EngineError(f"OpenCV {version} does not read Caffe's files any more", remedy=_REMEDY)

    def load(self, graph: Graph, threads: int = 1) -> OpencvSession:
        """Write the network as Caffe's files into a temporary folder, and load them."""
        from deepmerge.formats.write import write_pair

        with temporary_folder() as folder:
            files = Path(folder, "deploy.prototxt"), Path(folder, "weights.caffemodel")
            write_pair(graph, *files)
            return OpencvSession(graph, files, threads)

    def load_onnx(self, file: Path, graph: Graph, threads: int = 1) -> OpencvSession:
        """Load an ONNX file that convert wrote. graph: the network it was written from."""
        return OpencvSession(graph, (file,), threads)


class OpencvSession(FileSession):
    """A network in OpenCV: a copy with fusion, and one without it to time the layers.

    OpenCV finds values by their layers, and has none of a layer with several tops.
    """

    def __init__(self, graph: Graph, files: tuple[Path, ...], threads: int = 1) -> None:
        layers = {blob.name: blob.producer for blob in graph.blobs if len(blob.producer.tops) == 1}
        self._makers = {blob: layer.name for blob, layer in layers.items() if layer.type != "Input"}
        super().__init__("opencv", graph, list(self._makers))
        self._threads = threads
        self._fused, self._plain = (_read(files, fusion) for fusion in (True, False))
        if len(files) == 1:  # ONNX, whose layers have other names
            self._makers = dict(zip(self.outputs, self._fused.getUnconnectedOutLayersNames(), strict=False))
            self.blobs = tuple(self._makers)

    def _feed(self, arrays: Mapping[str, np.ndarray], net: Any = None) -> None:
        import cv2

        cv2.setNumThreads(self._threads)  # of the whole process
        for name, array in arrays.items():
            (net or self._fused).setInput(array, name)

    def _run(self, wanted: Sequence[str]) -> dict[str, np.ndarray]:
        makers = [self._makers.get(name) for name in wanted]
        if None in makers:
            raise EngineError(f"OpenCV cannot return blob {wanted[makers.index(None)]!r}: its layer has several tops")
        return dict(zip(wanted, self._fused.forward(makers), strict=True))

    def time_layers(self, repeat: int = 15, warmup: int = 2) -> list[tuple[str, str, list[float]]]:
        """Return (layer, type, seconds of each forward) without fusion, which would add other layers' times.

        forward_seconds: the seconds of each of these forwards as a whole.
        """
        import cv2

        self._open()
        net, tick = self._plain, cv2.getTickFrequency()
        rows: list[np.ndarray] = []
        self.forward_seconds = []
        with refusals("opencv", "run"):
            for turn in range(warmup + repeat):
                self._feed(self._last, net)
                start = time.perf_counter()
                net.forward([self._makers[name] for name in self.outputs if name in self._makers])
                seconds = time.perf_counter() - start
                if turn >= warmup:
                    self.forward_seconds.append(seconds)
                    rows.append(np.ravel(net.getPerfProfile()[1]) / tick)
            names = net.getLayerNames()
            kinds = [self.types.get(name) or net.getLayer(net.getLayerId(name)).type for name in names]
        return [(n, k, [float(row[i]) for row in rows]) for i, (n, k) in enumerate(zip(names, kinds, strict=True))]

    def close(self) -> None:
        """Release both copies."""
        super().close()
        self._fused = self._plain = None


def _read(files: tuple[Path, ...], fusion: bool) -> Any:
    import cv2

    with refusals("opencv", "read"):
        read = cv2.dnn.readNetFromCaffe if len(files) == 2 else cv2.dnn.readNetFromONNX
        net = read(*map(str, files))
    net.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)
    net.setPreferableTarget(cv2.dnn.DNN_TARGET_CPU)
    net.enableFusion(fusion)
    return net
