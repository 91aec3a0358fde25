"""model-int8.onnx of a network with new weights: made again, as the report says that convert made it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deepmerge.convert.calibrate import CalibrationImages
from deepmerge.convert.int8 import write_int8
from deepmerge.data import ImageWishes
from deepmerge.errors import DeepmergeError
from deepmerge.formats import INT8_FILE, WRITTEN_OUT
from deepmerge.graph.graph import Graph
from deepmerge.out.read import Converted
from deepmerge.out.write import Settings


def renew_int8(converted: Converted, stage: Path, final: Graph, report: Mapping[str, Any]) -> dict[str, Any]:
    """Quantize the network again if OUT has it in int8, and return the report with the new figures.

    If that fails, such as where the calibration images have gone, a warning says so: the weights matter more.
    """
    report = dict(report)
    if not (converted.folder / INT8_FILE).exists() or "int8" not in report.get("onnx", {}):
        return report
    about, old = report["calibration"], report["onnx"]["int8"]
    wishes = {key: tuple(v) if isinstance(v, list) else v for key, v in about["preprocessing"].items()}
    images = CalibrationImages(about["source"], converted.final.prototxt, about["images"], ImageWishes(**wishes))
    lrn = report["onnx"].get("lrn", WRITTEN_OUT)
    settings = Settings(onnx_lrn=lrn, int8_method=old["method"], int8_keep=tuple(old["keep"]))
    report["onnx"] = {key: value for key, value in report["onnx"].items() if key != "int8"}
    try:
        images.prepare(final)
        report["onnx"]["int8"] = write_int8(final, stage / INT8_FILE, images, settings)
    except DeepmergeError as error:
        line = f"{INT8_FILE} is left out, since it could not be made of the new weights: {error}"
        report["warnings"] = [*report.get("warnings", []), line]
    return report
