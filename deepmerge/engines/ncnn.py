"""ncnn as an engine. No wheel has its Caffe converter, so the network is converted from ONNX by pnnx."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deepmerge.engines.session import FileSession, refusals
from deepmerge.errors import EngineError
from deepmerge.formats import OPERATOR
from deepmerge.temporary import temporary_folder

if TYPE_CHECKING:
    from deepmerge.graph import Graph

SECONDS = 300.0


def find_pnnx() -> Path | None:
    """Return the converter: on PATH, or in the package that pip installs."""
    if found := shutil.which("pnnx"):
        return Path(found)
    spec = find_spec("pnnx")
    folders = (spec.submodule_search_locations if spec else None) or ()
    return next((Path(folder, "pnnx") for folder in folders if Path(folder, "pnnx").is_file()), None)


class NcnnEngine:
    """ncnn on the CPU, in full precision, one image at a time. EngineError if it or pnnx is not installed."""

    name = "ncnn"

    def __init__(self) -> None:
        found = find_pnnx()
        if find_spec("ncnn") is None or found is None:
            raise EngineError("engine 'ncnn' needs ncnn and its converter pnnx", remedy="pip install ncnn pnnx")
        self._pnnx = found

    def load(self, graph: Graph, threads: int = 1) -> NcnnSession:
        """Write the network as ONNX, let pnnx convert it, and load that."""
        from deepmerge.formats.onnx import too_large

        if any(shape[:1] != (1,) for blob in graph.inputs for shape in blob.producer.params.shape):
            raise EngineError("ncnn runs one image at a time", remedy="give the network a batch of 1")
        with temporary_folder() as folder:
            import onnx

            from deepmerge.formats.onnx import to_onnx

            model = to_onnx(graph, free_batch=False, lrn=OPERATOR)
            if too_large(model):
                raise EngineError("pnnx cannot read an ONNX model of over 2 GB")
            onnx.save(model, str(Path(folder, "net.onnx")))
            self._convert(Path(folder))
            return NcnnSession(graph, Path(folder), threads)

    def _convert(self, folder: Path) -> None:
        try:
            done = subprocess.run(
                [str(self._pnnx), "net.onnx", "fp16=0"],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=SECONDS,
            )
        except subprocess.TimeoutExpired:
            raise EngineError(f"pnnx cannot convert the network: no answer within {SECONDS:g} s") from None
        if not (folder / "net.ncnn.param").exists():
            said = [line.strip() for line in (done.stdout + "\n" + done.stderr).splitlines() if line.strip()]
            raise EngineError(f"pnnx cannot convert the network: {said[-1] if said else done.returncode}")


class NcnnSession(FileSession):
    """A network in ncnn, which has other names for layers, and does not report their times."""

    def __init__(self, graph: Graph, folder: Path, threads: int) -> None:
        super().__init__("ncnn", graph)
        with refusals("ncnn", "load"):
            import ncnn

            net = ncnn.Net()
            net.opt.num_threads, net.opt.use_vulkan_compute = threads, False
            for option in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage"):
                setattr(net.opt, option, False)
            if net.load_param(str(folder / "net.ncnn.param")) or net.load_model(str(folder / "net.ncnn.bin")):
                raise EngineError(
                    "ncnn cannot load what pnnx made of the network: it has a layer that ncnn does not know"
                )
        self._net, self._mats = net, {}
        read = [blob.name for blob in graph.inputs if blob.consumers]
        if len(net.input_names()) != len(read) or len(net.output_names()) != len(self.outputs):
            raise EngineError("ncnn's model has other inputs and outputs than the network")
        self._fed = dict(zip(read, net.input_names(), strict=True))
        self._made = dict(zip(self.outputs, net.output_names(), strict=True))

    def _feed(self, arrays: Mapping[str, np.ndarray]) -> None:
        import ncnn

        self._mats = {
            self._fed[name]: ncnn.Mat(array[0]).clone() for name, array in arrays.items() if name in self._fed
        }

    def _run(self, wanted: Sequence[str]) -> dict[str, np.ndarray]:
        extractor = self._net.create_extractor()
        for name, mat in self._mats.items():
            extractor.input(name, mat)
        values = {}
        for name in wanted:
            failed, value = extractor.extract(self._made[name])
            if failed:
                raise EngineError(f"ncnn cannot compute {name!r}")
            values[name] = np.array(value)
        return values

    def close(self) -> None:
        """Release the network."""
        super().close()
        self._net, self._mats = None, {}
