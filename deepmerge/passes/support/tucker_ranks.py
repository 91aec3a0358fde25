"""How many channels decompose_tucker leaves between its layers: layer by layer, or for the whole network at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from deepmerge.errors import PassError
from deepmerge.graph.costs import layer_macs
from deepmerge.graph.graph import Layer
from deepmerge.graph.shapes import Shape
from deepmerge.kernels.budget import Setting, allot, frontier, losses
from deepmerge.passes.support import option_values
from deepmerge.passes.support.base import Options, Shapes
from deepmerge.passes.support.weights import finite_weight_of, group_of, weight_of, weight_shape

# Two more layers cost about as much time as this share of a layer's MACs (measured in Caffe on GoogLeNet's layers)
SAVING = 0.2


@dataclass(frozen=True)
class Ranks:
    """Ranks per group. A matrix has one rank, `inside`; its `out` is 0."""

    inside: int
    out: int = 0

    @property
    def as_list(self) -> list[int]:
        """The ranks as recipes have them."""
        return [self.inside, self.out] if self.out else [self.inside]

    def __str__(self) -> str:
        return f"ranks {self.inside}, {self.out}" if self.out else f"rank {self.inside}"


def parse_rank(text: str) -> tuple[str, float]:
    """Return ("vbmf" | "energy" | "ratio" | "macs", value) of --rank; PassError for anything else."""
    try:
        kind, _, share = option_values.rank(text).partition(":")
    except ValueError:
        wanted = "vbmf, energy:SHARE, ratio:SHARE or macs:SHARE, with a share above 0 and up to 1"
        raise PassError(f"--rank {text}: give {wanted}") from None
    return kind, float(share or 0)


def is_matrix(layer: Layer) -> bool:
    """Return whether the layer is a matrix (an InnerProduct or a 1x1 convolution), and so has one rank."""
    return layer.type == "InnerProduct" or layer.params.kernel == (1, 1)


def choose_ranks(layer: Layer, options: Options, shapes: Shapes) -> Ranks:
    """Return the ranks of one layer: those that the options name for it, else those that `rank` gives.

    energy and macs look at the weights, or, where the options have the layer's moments, at their effect on the data;
    vbmf looks at the weights, and ratio at their shape alone.
    PassError for ranks that the layer cannot have, and for weights with a NaN or an infinity.
    """
    if layer.name in options.ranks:
        return _named(layer, options.ranks[layer.name], weight_shape(layer, shapes))
    kind, share = parse_rank(options.rank)
    if kind == "macs":
        least = Setting(0, 0.0, (1,) if is_matrix(layer) else (1, 1))
        offers = settings(layer, options, shapes) or [least]
        return Ranks(*allot({layer.name: offers}, int(share * layer_macs(layer, shapes)))[layer.name].ranks)
    if kind == "energy":
        return energy_ranks(layer, options, [share])[0]
    return _feasible(layer, weight_of(layer).shape, *_plain(layer, kind, share))


def energy_ranks(layer: Layer, options: Options, shares: Sequence[float]) -> list[Ranks]:
    """Return for each share, in (0, 1], the least ranks that keep it of the energy in every group.

    Energy is the squared singular values of the weights; the relative error of both ranks together is then at most
    sqrt(2 (1 - share)). Where the options have the layer's moments, it is the variance of its outputs.
    """
    from deepmerge.kernels.svd import energy_rank

    spectra, shape = _spectra(layer, options), weight_of(layer).shape
    kept = [[max(energy_rank(one, share) for one in both) for both in spectra] for share in shares]
    return [_feasible(layer, shape, *ranks) for ranks in kept]


def allot_ranks(layers: Iterable[Layer], options: Options, shapes: Shapes) -> dict[str, list[int]]:
    """Return ranks with which the layers together keep the share of their MACs; layers to leave alone are not in it."""
    layers = list(layers)
    _, share = parse_rank(options.rank)
    offers = {
        layer.name: [Setting(layer_macs(layer, shapes), 0.0), *settings(layer, options, shapes)] for layer in layers
    }
    chosen = allot(offers, int(share * sum(layer_macs(layer, shapes) for layer in layers)))
    return {name: list(setting.ranks) for name, setting in chosen.items() if setting.ranks}


def settings(layer: Layer, options: Options, shapes: Shapes) -> list[Setting]:
    """Return the ranks that a layer could have, with their MACs and losses, except those that others beat in both.

    All of them save at least SAVING of the layer's MACs.
    """
    lost_out, lost_in = (losses(spectrum) for spectrum in _spectra(layer, options))
    if is_matrix(layer):
        inside, out = np.arange(1, min(len(lost_in), len(lost_out)) + 1), np.zeros(1, int)
        loss = lost_out[: len(inside)]
    else:
        grids = np.meshgrid(np.arange(1, len(lost_in) + 1), np.arange(1, len(lost_out) + 1))
        inside, out = grids[0].ravel(), grids[1].ravel()
        taps = layer.params.kernel_h * layer.params.kernel_w
        useful = ((out <= inside * taps) | (out == len(lost_out))) & ((inside <= out * taps) | (inside == len(lost_in)))
        loss = np.where(useful, lost_in[inside - 1] + lost_out[out - 1], np.inf)
    work = decomposed_macs(layer, inside, out, shapes)
    cheap = work <= (1 - SAVING) * layer_macs(layer, shapes)
    places = frontier(work, np.where(cheap, loss, np.inf))
    out = np.broadcast_to(out, inside.shape)
    return [Setting(int(work[i]), float(loss[i]), tuple(Ranks(int(inside[i]), int(out[i])).as_list)) for i in places]


def decomposed_macs(layer: Layer, inside, out, shapes: Shapes):
    """Return the multiply-adds, for one image, of the layers that would replace the layer.

    inside, out: the ranks as in Ranks, as numbers or as arrays of them.
    """
    into, top = shapes[layer.bottom], shapes[layer.top]
    p = layer.params
    if layer.type == "InnerProduct":
        outputs, inputs = weight_shape(layer, shapes)
        return layer_macs(layer, shapes) // (outputs * inputs) * inside * (outputs + inputs)
    before, after = into[2] * into[3], top[2] * top[3]
    channels, outputs = into[1] // p.group, p.num_output // p.group
    if is_matrix(layer):  # the first factor has the stride
        return p.group * inside * (channels + outputs) * after
    core = inside * out * p.kernel_h * p.kernel_w * after
    first = channels * inside * before * np.less(inside, channels)
    last = out * outputs * after * np.less(out, outputs)
    return p.group * (first + core + last)


def _spectra(layer: Layer, options: Options) -> tuple[np.ndarray, np.ndarray]:
    """Return the energies of the layer's directions, (group, outputs) and (group, channels)."""
    from deepmerge.kernels import data_aware, tucker

    weight, group = finite_weight_of(layer), group_of(layer)
    moments = options.moments.get(layer.name)
    if moments is not None:
        return data_aware.aware_spectra(weight, group, moments)
    return tucker.spectra(weight, group)


def _plain(layer: Layer, kind: str, share: float) -> tuple[int, int]:
    from deepmerge.kernels import svd, tucker

    weight, group = finite_weight_of(layer), group_of(layer)
    if is_matrix(layer):
        if kind == "vbmf":
            return 0, svd.rank_vbmf(weight, group)
        return 0, svd.rank_ratio(weight, share, group)
    return tucker.ranks_vbmf(weight, group) if kind == "vbmf" else tucker.ranks_ratio(weight, group, share)


def _feasible(layer: Layer, shape: Shape, out: int, inside: int) -> Ranks:
    from deepmerge.kernels.tucker import feasible_ranks

    if is_matrix(layer):
        return Ranks(max(1, min(inside, *_full(layer, shape))))
    out, inside = feasible_ranks(shape, max(1, out), max(1, inside), layer.params.group)
    return Ranks(inside, out)


def _named(layer: Layer, ranks, shape: Shape) -> Ranks:
    channels, outputs = _full(layer, shape)
    most = [min(channels, outputs)] if is_matrix(layer) else [channels, outputs]
    if len(ranks) != len(most) or not all(1 <= rank <= full for rank, full in zip(ranks, most, strict=True)):
        form = "[rank], up to" if is_matrix(layer) else "[rank_in, rank_out], up to"
        raise PassError(
            f"layer {layer.name!r} ({layer.type}) cannot have the ranks {list(ranks)}",
            layer=layer.name,
            remedy=f"give {form} {' and '.join(map(str, most))}",
        )
    return Ranks(*ranks) if is_matrix(layer) else _feasible(layer, shape, ranks[1], ranks[0])


def _full(layer: Layer, shape: Shape) -> tuple[int, int]:
    """Return each group's channels and outputs. shape: of the weights."""
    return shape[1], shape[0] // group_of(layer)
