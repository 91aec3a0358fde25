"""Networks with forks' layers, rebuilt from layers that real Caffe has, each from its public definition.

So real Caffe judges layers that it does not know. No formula here is deepmerge's own: ReLU6 is 6 − relu(6 − y), a reorganised
blob is reshaped and permuted, a value repeated is a deconvolution by ones.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from deepmerge.formats.read import read_network
from deepmerge.formats.write import write_pair
from deepmerge.formats.write.layers import layer_message
from deepmerge.formats.write.prototxt import format_tree
from deepmerge.graph.graph import Blob, Graph, Layer
from deepmerge.graph.shapes import infer_shapes
from deepmerge.graph.tree import Quoted

Weights = dict[str, list[np.ndarray]]


class Twin:
    """The text and weights of a network of Caffe's own layers that computes what `graph` does.

    Every blob has a name of its own; inputs and outputs keep theirs. Layers without a twin (boxes, detections, unpooling, unknown
    ones) are left out with everything after them, and what they read becomes an output.
    """

    def __init__(self, graph: Graph):
        gone = _without_twin(graph)
        kept = {*graph.inputs, *graph.outputs, *(blob for layer in gone for blob in layer.bottoms)}
        self.names = {blob: blob.name if blob in kept else f"blob{i}" for i, blob in enumerate(graph.blobs)}
        self.shapes = infer_shapes(graph)
        self.weights: Weights = {}
        self.text = f'name: "{graph.name}"\n'
        for layer in graph.layers:
            if layer in gone:
                continue
            writer = getattr(self, f"_{layer.type}", None)
            if layer.type == "BatchNorm" and not layer.params.scale_bias:
                writer = None
            if writer:
                writer(layer)
            else:
                self._as_it_is(layer)

    def _as_it_is(self, layer: Layer, kind: str = "", **params: str) -> None:
        message = layer_message(layer, self.names).copy()
        if kind:
            message.set("type", Quoted(kind))
        for extra in [f.name for f in message if f.name in ("forward_math", "cudnn_math_override")]:
            message.remove(extra)  # NVCaffe's
        for name, block in [(f.name, f.value) for f in message if f.name == "convolution_param"]:
            holes, groups = block.values("hole"), [g for g in (params.get("group"),) if g]
            block.remove("hole", "cudnn_convolution_algo_seeker", *(["group"] if groups else []))
            text = (
                format_tree(block, 1)
                + "".join(f"  dilation: {h}\n" for h in holes)
                + "".join(f"  group: {g}\n" for g in groups)
            )
            message.remove(name)
            self.text += f"layer {{\n{format_tree(message, 1)}{name} {{\n{text}}} }}\n"
            break
        else:
            self.text += f"layer {{\n{format_tree(message, 1)}}}\n"
        self.weights[layer.name] = layer.weights

    def add(self, name: str, kind: str, bottoms: str, top: str, params: str = "", weights=()) -> str:
        """One layer of Caffe's; returns its top."""
        field = {"BatchNorm": "batch_norm", "Convolution": "convolution", "Deconvolution": "convolution"}.get(
            kind, kind.lower()
        )
        blobs = "".join(f'bottom: "{b}" ' for b in bottoms.split()) + f'top: "{top}"'
        block = f"{field}_param {{ {params} }}" if params else ""
        self.text += f'layer {{ name: "{name}" type: "{kind}" {blobs} {block} }}\n'
        self.weights[name] = [np.asarray(w, np.float32) for w in weights]
        return top

    def chain(self, layer: Layer, *steps: tuple, bottom: Blob | None = None) -> None:
        """Layers one after the other, from a bottom of the layer to its top: (kind, params, weights…)."""
        at = self.names[bottom or layer.bottom]
        for i, (kind, params, *weights) in enumerate(steps):
            last = i == len(steps) - 1
            at = self.add(
                f"{layer.name}/{i}", kind, at, self.names[layer.top] if last else f"{layer.name}//{i}", params, weights
            )

    # -- one for each type ---------------------------------------------------------------------------

    def _DepthwiseConvolution(self, layer: Layer) -> None:
        self._as_it_is(layer, "Convolution", group=str(layer.params.num_output))

    _ConvolutionDepthwise = _DepthwiseConvolution

    def _BatchNorm(self, layer: Layer) -> None:
        mean, variance, _, scale, bias = layer.weights
        self._normalised(layer, scale, bias, mean, variance, max(layer.params.eps, 1e-5))

    def _BN(self, layer: Layer) -> None:
        slope, bias, *stored = layer.weights
        if stored:
            self._normalised(layer, slope, bias, *stored, layer.params.eps)
        else:
            self.chain(layer, ("Scale", "bias_term: true", slope.reshape(-1), bias.reshape(-1)))

    def _normalised(self, layer: Layer, slope, bias, mean, variance, eps: float) -> None:
        flat = [blob.reshape(-1) for blob in (mean, variance, np.ones(1), slope, bias)]
        self.chain(layer, ("BatchNorm", f"eps: {eps}", *flat[:3]), ("Scale", "bias_term: true", *flat[3:]))

    def _Dropout(self, layer: Layer) -> None:
        """caffe-fast-rcnn: dropout_layer.cpp: scale_train: false scales in TEST."""
        scale = 1.0 if layer.params.scale_train else 1 - layer.params.dropout_ratio
        self.chain(layer, ("Power", f"scale: {scale}"))

    def _ReLU6(self, layer: Layer) -> None:
        turned = ("Power", "scale: -1 shift: 6")
        self.chain(layer, ("ReLU", f"negative_slope: {layer.params.negative_slope}"), turned, ("ReLU", ""), turned)

    def _Axpy(self, layer: Layer) -> None:
        factor, x, y = (self.names[b] for b in layer.bottoms)
        flat = self.add(f"{layer.name}/flat", "Flatten", factor, f"{layer.name}//flat")
        scaled = self.add(f"{layer.name}/scale", "Scale", f"{x} {flat}", f"{layer.name}//scaled", "axis: 0")
        self.add(f"{layer.name}/sum", "Eltwise", f"{scaled} {y}", self.names[layer.top], "operation: SUM")

    def _Normalize(self, layer: Layer) -> None:
        p, x, name = layer.params, self.names[layer.bottom], layer.name
        order = (0, 1, 2, 3) if p.across_spatial else (0, 2, 3, 1)
        moved = self.add(f"{name}/to", "Permute", x, f"{name}//to", " ".join(f"order: {a}" for a in order))
        square = self.add(f"{name}/square", "Power", moved, f"{name}//square", "power: 2")
        total = self.add(f"{name}/sum", "Reduction", square, f"{name}//sum", f"axis: {1 if p.across_spatial else 3}")
        norm = self.add(f"{name}/norm", "Power", total, f"{name}//norm", f"power: -0.5 shift: {p.eps}")
        divided = self.add(f"{name}/divided", "Scale", f"{moved} {norm}", f"{name}//divided", "axis: 0")
        back = self.add(
            f"{name}/back", "Permute", divided, f"{name}//back", " ".join(f"order: {order.index(a)}" for a in range(4))
        )
        self.add(
            f"{name}/scale",
            "Scale",
            back,
            self.names[layer.top],
            f"num_axes: {int(not p.channel_shared)}",
            layer.weights,
        )

    def _ShuffleChannel(self, layer: Layer) -> None:
        n, c, h, w = self.shapes[layer.bottom]
        g = layer.params.group
        self._permuted(layer, (n, g, c // g, h, w), (0, 2, 1, 3, 4))

    def _Reorg(self, layer: Layer) -> None:
        (n, c, h, w), s = self.shapes[layer.bottom], layer.params.stride
        if layer.params.reverse:
            self._permuted(layer, (n, s, s, c // s**2, h, w), (0, 3, 4, 1, 5, 2))
        else:
            self._permuted(layer, (n, c // s**2, h, s, w, s), (0, 3, 5, 1, 2, 4))

    def _permuted(self, layer: Layer, inner: tuple[int, ...], order: tuple[int, ...]) -> None:
        self.chain(
            layer,
            ("Reshape", f"shape {{ {_dims(inner)} }}"),
            ("Permute", " ".join(f"order: {axis}" for axis in order)),
            ("Reshape", f"shape {{ {_dims(self.shapes[layer.top])} }}"),
        )

    def _CropCenter(self, layer: Layer) -> None:
        like, name = self.shapes[layer.top], f"{layer.name}//like"
        self.text += f'layer {{ name: "{name}" type: "DummyData" top: "{name}" dummy_data_param {{ shape {{ {_dims(like)} }} }} }}\n'
        offsets = " ".join(f"offset: {cut}" for cut in layer.params.crop_size)
        self.add(layer.name, "Crop", f"{self.names[layer.bottom]} {name}", self.names[layer.top], f"axis: 0 {offsets}")

    def _Upsample(self, layer: Layer) -> None:
        channels, s = self.shapes[layer.bottom][1], layer.params.scale
        params = f"num_output: {channels} group: {channels} kernel_size: {s} stride: {s} bias_term: false"
        self.chain(layer, ("Deconvolution", params, np.ones((channels, 1, s, s))))

    def _Interp(self, layer: Layer) -> None:
        """Two inner products: interpolated() along the width, then along the height."""
        h, w = self.shapes[layer.top][2:]
        at, sizes = self.names[layer.bottom], self.shapes[layer.bottom][2:]
        cut = -layer.params.pad_beg, layer.params.pad_end
        for axis, (before, after) in enumerate(zip((sizes[1], sizes[0]), (w, h), strict=True)):
            name = f"{layer.name}/{axis}"
            matrix = np.zeros((after, before))
            matrix[:, cut[0] : before + cut[1]] = interpolated(before - cut[0] + cut[1], after)
            at = self.add(name, "InnerProduct", at, f"{name}//", "", [matrix])
            self.text = self.text.replace(
                f'top: "{name}//" ',
                f'top: "{name}//" inner_product_param {{ num_output: {after} axis: 3 bias_term: false }} ',
            )
            top = self.names[layer.top] if axis else f"{name}//turned"
            at = self.add(f"{name}/turn", "Permute", at, top, "order: 0 order: 1 order: 3 order: 2")


def _without_twin(graph: Graph) -> set[Layer]:
    gone: set[Layer] = set()
    for layer in graph.layers:
        twin = not layer.kind.fork or hasattr(Twin, f"_{layer.type}")
        unpools = layer.type == "Upsample" and len(layer.bottoms) > 1
        if layer.params is None or not twin or unpools or any(blob.producer in gone for blob in layer.bottoms):
            gone.add(layer)
    return gone


def interpolated(before: int, after: int) -> np.ndarray:
    """DeepLab: interp.cpp, caffe_cpu_interp2, along one axis: the (after, before) weights of each place."""
    ratio = (before - 1) / (after - 1) if after > 1 else 0.0
    matrix = np.zeros((after, before))
    for i in range(after):
        low = int(ratio * i)
        matrix[i, low] += 1 - (ratio * i - low)
        matrix[i, min(low + 1, before - 1)] += ratio * i - low
    return matrix


def _dims(shape: tuple[int, ...]) -> str:
    return " ".join(f"dim: {size}" for size in shape)


def load_twin(worker, folder: Path, graph: Graph, force_backward: bool = False):
    """The network's twin in real Caffe, a session."""
    twin = Twin(graph)
    files = folder / "twin.prototxt", folder / "twin.caffemodel"
    files[0].write_text(("force_backward: true\n" if force_backward else "") + twin.text, encoding="utf-8")
    same = read_network(files[0])
    for layer in same.layers:
        layer.weights = list(twin.weights.get(layer.name, []))
    write_pair(same, *files)
    return worker.load(*files)


def run_twin(worker, folder: Path, graph: Graph, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The outputs of the network's twin in real Caffe."""
    with load_twin(worker, folder, graph) as session:
        return session.forward(feeds)
