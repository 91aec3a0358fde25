"""A small network with two approximate steps, converted, and labelled images for it: what fine-tuning is tried on."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np

from deepmerge.formats.write import write_pair
from deepmerge.out.write import Settings
from tests.conversion import Job, convert
from tests.helpers import conv, inputs, layer, network, relu
from tests.real_images import write_lmdb

CLASSES, HEIGHT, WIDTH = 5, 9, 7
NET = (
    inputs((1, 3, HEIGHT, WIDTH))
    + conv("conv1", "data", 4, "kernel_h: 3 kernel_w: 2 pad_h: 1")
    + relu("conv1")
    + layer("norm1", "LRN", "conv1", "local_size: 3 alpha: 0.5")
    + conv("conv2", "norm1", 6, "kernel_size: 3 stride: 2 group: 2")
    + relu("conv2")
    + layer("pool2", "Pooling", "conv2", "kernel_size: 2 stride: 2")
    + layer("fc", "InnerProduct", "pool2", f"num_output: {CLASSES}")
    + layer("prob", "Softmax", "fc")
)
DATA = """layer {{
  name: "data" type: "Data" top: "data" top: "label" include {{ phase: {phase} }}
  transform_param {{ mean_value: 100 mean_value: 120 mean_value: 110 scale: 0.02 mirror: {mirror} }}
  data_param {{ source: "{source}" backend: LMDB batch_size: {batch_size} }}
}}
"""
HEADS = """layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
layer { name: "accuracy" type: "Accuracy" bottom: "fc" bottom: "label" top: "accuracy" include { phase: TEST } }
"""
AUXILIARY = """layer {
  name: "aux" type: "InnerProduct" bottom: "norm1" top: "aux" include { phase: TRAIN }
  inner_product_param { num_output: 5 weight_filler { type: "xavier" } }
}
layer { name: "loss1" type: "SoftmaxWithLoss" bottom: "aux" bottom: "label" top: "loss1" loss_weight: 0.3 include { phase: TRAIN } }
"""


def pictures(count: int, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (count, HEIGHT, WIDTH, 3) and labels: classes differ in their colours, so that there is something to learn."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, CLASSES, count)
    centre = np.random.default_rng(1).integers(40, 215, (CLASSES, 3))
    images = random.normal(centre[labels][:, None, None], 40, (count, HEIGHT, WIDTH, 3))
    return images.clip(0, 255).astype(np.uint8), labels


def data_layers(folder: Path, batch_size: int = 6, mirror: bool = False) -> str:
    """The train_val's data layers, on the LMDBs in `folder`."""
    text = ""
    for phase in ("TRAIN", "TEST"):
        flag = str(mirror and phase == "TRAIN").lower()
        text += DATA.format(phase=phase, source=folder / f"{phase.lower()}_lmdb", batch_size=batch_size, mirror=flag)
    return text


def write_images(folder: Path, count: int = 20) -> None:
    """train_lmdb, test_lmdb, train.npz, test.npz."""
    for name, seed in (("train", 3), ("test", 4)):
        images, labels = pictures(count, seed)
        write_lmdb(folder / f"{name}_lmdb", images, labels, HEIGHT, WIDTH)
        np.savez(folder / f"{name}.npz", images=images, labels=labels)


def convert_small(folder: Path, heads: str = HEADS, net: str = NET, **solver: object) -> Path:
    """folder/out, by `convert`; folder/net.prototxt and net.caffemodel are the original. solver: overrides."""
    graph = network(folder, net)
    write_pair(graph, folder / "net.prototxt", folder / "net.caffemodel")
    (folder / "train_val.prototxt").write_text(data_layers(folder) + net.split("\n", 2)[2] + heads)
    settings = Settings(solver={key: str(value) for key, value in solver.items()})
    job = Job(folder / "net.prototxt", folder / "net.caffemodel", folder / "out", settings=settings, force=True)
    convert(Job(**vars(job) | {"train_val": folder / "train_val.prototxt"}))
    return folder / "out"


def solver(**fields: object) -> SimpleNamespace:
    """A solver of ten iterations that no file is read for. fields: those that differ."""
    usual = {"lr_policy": "fixed", "base_lr": 0.1, "max_iter": 10, "average_loss": 3, "display": 2, "snapshot": 4}
    usual |= {"test_interval": 5, "test_initialization": False, "snapshot_prefix": "snapshots/mine"}
    return SimpleNamespace(**usual | fields)
