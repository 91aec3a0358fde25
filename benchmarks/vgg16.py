"""VGG-16 (Simonyan, Zisserman: arXiv 1409.1556, table 1, column D) with random weights: 138 M parameters, 553 MB.

python benchmarks/vgg16.py FOLDER     writes vgg16.prototxt and vgg16.caffemodel
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from deepmerge.formats.read import read_network
from deepmerge.formats.write import write_caffemodel
from deepmerge.graph.shapes import expected_weights, infer_shapes

STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # num_output, convolutions before the pooling
INPUT = (
    'name: "VGG16"\nlayer { name: "data" type: "Input" top: "data" input_param { shape { dim: [10, 3, 224, 224] } } }\n'
)


def prototxt() -> str:
    """Return the definition."""
    text, bottom = INPUT, "data"
    for stage, (width, count) in enumerate(STAGES, 1):
        for name in (f"conv{stage}_{i}" for i in range(1, count + 1)):
            text += _layer(
                name, "Convolution", bottom, f"convolution_param {{ num_output: {width} kernel_size: 3 pad: 1 }}"
            ) + _relu(name)
            bottom = name
        text += _layer(f"pool{stage}", "Pooling", bottom, "pooling_param { pool: MAX kernel_size: 2 stride: 2 }")
        bottom = f"pool{stage}"
    for name, width in (("fc6", 4096), ("fc7", 4096), ("fc8", 1000)):
        text += _layer(name, "InnerProduct", bottom, f"inner_product_param {{ num_output: {width} }}")
        if name != "fc8":
            text += _relu(name) + _layer(
                f"drop{name[2:]}", "Dropout", name, "dropout_param { dropout_ratio: 0.5 }", name
            )
        bottom = name
    return text + _layer("prob", "Softmax", bottom)


def _layer(name: str, kind: str, bottom: str, params: str = "", top: str = "") -> str:
    return f'layer {{ name: "{name}" type: "{kind}" bottom: "{bottom}" top: "{top or name}" {params} }}\n'


def _relu(bottom: str) -> str:
    return _layer(f"relu{bottom.removeprefix('conv').removeprefix('fc')}", "ReLU", bottom, top=bottom)


def write(folder: Path) -> None:
    """Write both files. Weights are normal, scaled by fan-in, seeded."""
    (folder / "vgg16.prototxt").write_text(prototxt())
    graph, rng = read_network(folder / "vgg16.prototxt"), np.random.default_rng(16)
    shapes = infer_shapes(graph)
    for layer in graph.layers:
        wanted = expected_weights(layer, [shapes[bottom] for bottom in layer.bottoms]) or []
        layer.weights = [
            rng.standard_normal(shape, np.float32) * np.float32(np.prod(shape[1:]) ** -0.5) for shape in wanted
        ]
    write_caffemodel(graph, folder / "vgg16.caffemodel")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
