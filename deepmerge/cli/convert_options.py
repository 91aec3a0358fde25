"""Options of convert that no other command has."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click

from deepmerge.cli.choosing import Choosing
from deepmerge.cli.options import FILE, MORE, SPEC, Checked, Listed, bundle, given, option, options, override, refuse
from deepmerge.cli.training_options import MINUTES
from deepmerge.formats import FORMATS, INT8, INT8_METHODS, LRN_FORMS, STYLES
from deepmerge.train.recover import SOLVED, STAGES

_FILES = "Files for fine-tuning"
_RECOVERY = "Recovery"


def _source(text: str) -> str:
    """Return the text; ValueError if it names no source of images."""
    from deepmerge.errors import EmitError
    from deepmerge.formats.write.data_layers import Source

    try:
        Source.parse(text)
    except EmitError as error:
        raise ValueError(str(error)) from None
    return text


@dataclass(frozen=True)
class Emitting:
    """What is written of the converted network."""

    emit: tuple[str, ...]
    style: tuple[str, ...]
    train_val: Path | None
    solver: tuple[tuple[str, str], ...]
    no_steps: bool
    step_weights: bool
    train_source: str | None
    test_source: str | None
    batch_size: int
    onnx_lrn: str
    int8_method: str
    int8_keep: tuple[str, ...]

    def __post_init__(self):
        if not {"onnx", INT8} & set(self.emit):
            refuse(given("onnx_lrn"), "has no effect without onnx in --emit; add it")
        if INT8 not in self.emit:
            refuse(given("int8_method", "int8_keep"), f"has no effect without {INT8} in --emit; add it")
        if self.no_steps and self.step_weights:
            raise click.UsageError("--no-steps and --step-weights exclude each other")

    def keywords(self) -> dict[str, Any]:
        """Return the options as `deepmerge.Network.convert` takes them."""
        values = {**asdict(self), "solver": dict(self.solver), "step_folders": not self.no_steps}
        del values["train_val"], values["no_steps"]
        return values


emitting = bundle(
    "emitting",
    Emitting,
    option(
        "--emit",
        type=Listed(FORMATS, empty=False),
        default="caffe",
        help=f"Formats: caffe, onnx, {INT8}.",
    ),
    option("--train-val", type=FILE, help="Keep the data, loss and accuracy layers of this file."),
    options(
        option(
            "--solver",
            type=Checked("KEY=VALUE", override),
            multiple=True,
            help="Set a field of the solvers; may be repeated.",
        ),
        option(
            "--train-source",
            type=Checked("SPEC", _source),
            help="Labelled images to train on, if there is no train_val: lmdb:PATH, list:FILE or hdf5:FILE.",
        ),
        option("--test-source", type=Checked("SPEC", _source), help="Labelled images to test on, in the same form."),
        option(
            "--batch-size",
            type=click.IntRange(1),
            default=32,
            metavar="N",
            help="Batch size of the data layers deepmerge writes.",
        ),
        option("--no-steps", is_flag=True, help="Write the final network only, without step folders."),
        option(
            "--step-weights",
            is_flag=True,
            help="Write complete weights in every step's folder, not only in the first one.",
        ),
        heading=_FILES,
    ),
    options(
        option(
            "--style",
            type=Listed(STYLES),
            default="",
            show_default=False,
            help="For device toolchains, if --target does not name yours: distinct-tops (no in-place layers; each top "
            "named like its layer), legacy-input (input: fields), axis-windows (kernel_h and kernel_w where they "
            "differ), group-depthwise (depthwise layers as Convolution with group), global-stats (BatchNorm says "
            "use_global_stats: true).",
        ),
        option(
            "--onnx-lrn",
            type=click.Choice(LRN_FORMS),
            default=LRN_FORMS[0],
            help="How model.onnx has LRN: written-out is several nodes, about ten times as fast in ONNX Runtime; op is "
            "the operator LRN.",
        ),
        option(
            "--int8-method",
            type=click.Choice(INT8_METHODS),
            default=INT8_METHODS[0],
            help="How onnx-int8 finds the range of each activation. average: the extremes of each batch of images, "
            "averaged; minmax: those of all images; percentile: 99.999 % of the values; entropy: the least loss of "
            "information.",
        ),
        option(
            "--int8-keep",
            type=Listed(),
            default="",
            show_default=False,
            help="Layers that onnx-int8 leaves in float32, by name or type.",
        ),
        heading=MORE,
    ),
)


@dataclass(frozen=True)
class Calibrating:
    """The images that Tucker's ranks and int8's ranges are chosen by."""

    calibration: str | None
    calibration_images: int

    def after(self, choosing: Choosing, recovering: Recovering, emit: Collection[str]) -> Calibrating:
        """Return what to calibrate int8 on: the images of --data or --recover, if no others are given."""
        if self.calibration is not None or INT8 not in emit:
            return self
        return replace(self, calibration=choosing.data or recovering.data)


calibrating = bundle(
    "calibrating",
    Calibrating,
    option(
        "--calibration",
        metavar="SPEC",
        help=f"Images to calibrate on (no labels needed): {SPEC}. Default for int8: those of --data or --recover.",
    ),
    option(
        "--calibration-images",
        type=click.IntRange(1),
        default=500,
        metavar="N",
        help="Use at most N images, sampled evenly.",
    ),
    heading=f"Calibration of --tucker and {INT8}",
)


@dataclass(frozen=True)
class Recovering:
    """The images to recover accuracy on, and how."""

    data: str | None
    minutes: float | None
    stages: tuple[str, ...] | None
    device: str
    no_fit: bool = False

    @classmethod
    def of(cls, recover_data, recover_minutes, recover_stages, recover_device, no_fit) -> Recovering:
        """Return the options by the names that the library gives them."""
        return cls(recover_data, recover_minutes, recover_stages, recover_device, no_fit)

    def after(self, choosing: Choosing, dry_run: bool) -> Recovering:
        """Return what to do after a choice by measurement: fit in closed form, if nothing more is asked for."""
        if choosing.data is None or self.data is not None or dry_run or self.no_fit:
            return self
        stages = self.stages if given("recover_minutes", "recover_stages") else SOLVED[:1]
        return replace(self, data=choosing.data, stages=stages)

    def keywords(self) -> dict[str, Any]:
        """Return the options as `deepmerge.recover` takes them."""
        return {"data": self.data, "minutes": self.minutes, "stages": self.stages, "device": self.device}


recovering = bundle(
    "recovering",
    Recovering.of,
    option("--recover", "recover_data", metavar="SPEC", help="Recover afterwards, on these images (no labels)."),
    options(
        option("--recover-minutes", type=MINUTES, metavar="N", help="Minutes to recover for."),
        option(
            "--recover-stages",
            type=Listed(STAGES, empty=False),
            help="Recovery stages to run. Default: those that suit the network; see `deepmerge recover --help`.",
        ),
        option("--recover-device", metavar="cpu|cuda", default="cpu", help="Where PyTorch runs."),
        option("--no-fit", is_flag=True, help="With --data: write the merged network without fitting it."),
        heading=_RECOVERY,
    ),
)


@dataclass(frozen=True)
class Running:
    """How the conversion is carried out."""

    out: Path | None
    recipe: Path | None
    as_page: bool
    dry_run: bool
    force: bool
    check: bool
    strict: bool


how = bundle(
    "how",
    Running,
    option("-o", "--out", type=FILE, metavar="OUT", help="Output folder; written whole or not at all."),
    option("--recipe", type=FILE, metavar="FILE", help="Replay a plan (TOML), as `plan --write` makes it."),
    option("--report", "as_page", is_flag=True, help="Write OUT/report.html too; see `deepmerge report`."),
    option("--dry-run", is_flag=True, help="Show what would be done; write nothing."),
    option("--force", is_flag=True, help="Replace an existing OUT."),
    options(
        option("--check", is_flag=True, help="Check that the network is consistent after each step (to find bugs)."),
        option("--strict", is_flag=True, help="Fail on a warning."),
        heading=MORE,
    ),
)
