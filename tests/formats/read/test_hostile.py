"""Files made to take long or to fill the memory: refused in a line, or read in a time in proportion to their size.

What takes the square of a file's size, or a record for each character, takes minutes or gigabytes here.
"""

from __future__ import annotations

import time
import tracemalloc

import pytest

from deepmerge.errors import DeepmergeError
from deepmerge.formats.read import caffemodel, read_network
from deepmerge.formats.read.files import MAX_TEXT
from deepmerge.formats.read.prototxt import MAX_VALUES
from deepmerge.formats.write.wire import block, key, varint
from deepmerge.graph.costs import shapes_of_one, summary

SECONDS = 8.0  # of this process, whatever else runs; a hundredth of it is enough
MEGABYTES = 150

DATA = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }\n'
IMAGES = 'layer { name: "data" type: "Data" top: "data" top: "label" transform_param { crop_size: 8 } }\n'
MANY = 20_000  # what takes its square takes minutes
FEW = 500


def layer(kind: str, field: str, params: str) -> str:
    return DATA + f'layer {{ name: "x" type: "{kind}" bottom: "data" top: "x" {field} {{ {params} }} }}\n'


def conv(params: str) -> str:
    return layer("Convolution", "convolution_param", params)


def many(text: str, count: int) -> str:
    """The text so many times, each with its number in the place of @."""
    return " ".join(text.replace("@", str(i)) for i in range(count))


TEXTS: dict[str, tuple[str, str]] = {  # text, and what the error holds ("" where it is a network)
    "open braces": ("a {" * 10**6, "nest deeper than 64"),
    "closed braces": ("a {" * 10**6 + "}" * 10**6, "nest deeper than 64"),
    "blanks": (" " * 4_000_000 + DATA, ""),
    "comments": ("#\n" * 500_000 + DATA, ""),
    "long string": (f'name: "{"a" * 4_000_000}"\n' + DATA, ""),
    "open string": ('name: "' + "a" * 4_000_000, "does not end on its line"),
    "escapes": (f'name: "{chr(92)}n{"x".join([chr(92) + "n"] * 300_000)}"\n' + DATA, ""),
    "pieces": ("name: " + "'a' " * 150_000 + DATA, ""),
    "values": ("a: [" + "1," * MAX_VALUES + "1]", "more than 1,000,000 values"),
    "large": ("#" * (MAX_TEXT + 1), "is larger than 32 MB"),
    "digits": (conv("kernel_size: 1 num_output: " + "9" * 10**6), "needs a whole number from 0 on"),
    "hexadecimal digits": (conv("kernel_size: 1 num_output: 0x" + "f" * 10**6), "needs a whole number from 0 on"),
    "decimal places": (layer("LRN", "lrn_param", "alpha: 0." + "9" * 10**6 + "e-999999999"), ""),
    "10^30": (conv(f"num_output: {10**30} kernel_size: 3"), "found '1000000000000000000000000000000'"),
    "kernel": (conv("num_output: 4 kernel_size: 4294967295"), "kernel: expected at most 8"),
    "pad": (conv("num_output: 4 kernel_size: 3 pad: 4294967295"), "at most 2,147,483,647 values"),
    "pooling pad": (layer("Pooling", "pooling_param", "kernel_size: 3 pad: 4294967295"), "less than the kernel"),
    "negative pad": (layer("Pooling", "pooling_param", "kernel_size: 3 pad: -1"), "'pad' needs a whole number from 0 on"),
    "group 0": (conv("num_output: 4 kernel_size: 3 group: 0"), "'group' must be 1 or more, found 0"),
    "stride 0": (conv("num_output: 4 kernel_size: 3 stride: 0"), "stride must be 1 or more, found 0"),
    "stride_h alone": (conv("num_output: 4 kernel_size: 3 stride_h: 2"), "give 'stride_h' and 'stride_w', or 'stride'"),
    "pooling stride_w alone": (layer("Pooling", "pooling_param", "kernel_size: 3 stride_w: 2"), "give 'stride_h' and 'stride_w', or 'stride'"),
    "local_size 0": (layer("LRN", "lrn_param", "local_size: 0"), "local_size: expected an odd number, found 0"),
    "local_size even": (layer("LRN", "lrn_param", "local_size: 4"), "local_size: expected an odd number, found 4"),
    "sizes": (DATA.replace("dim: 8", "dim: 9223372036854775807"), "at most 2,147,483,647 values"),
    "tiles": (layer("Tile", "tile_param", "tiles: 2147483647"), "at most 2,147,483,647 values"),
    "pyramid": (layer("SPP", "spp_param", "pyramid_height: 4294967295"), "pyramid_height: expected levels"),
    "top_k": (layer("ArgMax", "argmax_param", "top_k: 4294967295"), "top_k: expected 1 to 192"),
    "no axis": (layer("ArgMax", "argmax_param", "").replace("dim: 1 dim: 3 dim: 8 dim: 8", ""), "expected 1 axis or more"),
    "ratio 0": (layer("PriorBox", "prior_box_param", "min_size: 1 aspect_ratio: 0"), "at most 100 numbers above 0"),
}  # fmt: skip


def counted(n: int) -> dict[str, tuple[str, str]]:
    """The same, with n of something."""
    return {
        "axes": (layer("Reshape", "reshape_param", "shape { " + "dim: 9223372036854775807 " * n + "}"), f"shape has {n} axes"),
        "kernels": (conv("num_output: 4 " + "kernel_size: 3 " * n), "one number, or one for each of the 2 spatial axes"),
        "slices": (layer("Slice", "slice_param", "slice_point: 1 " * n), f"expected 0 for 1 tops, found {n}"),
        "order": (layer("Permute", "permute_param", "order: 1 " * n), "order: expected different axes"),
        "ratios": (layer("PriorBox", "prior_box_param", "min_size: 1 " + many("aspect_ratio: 1.@", n)), "at most 100 numbers above 0"),
        "layers": (DATA + many('layer { name: "r@" type: "ReLU" bottom: "data" top: "r@" }', n), ""),
        "inputs": (many('layer { name: "r@" type: "Input" top: "r@" input_param { shape { dim: 1 } } }', n), ""),
        "unknown types": (DATA + many('layer { name: "r@" type: "Conv@olution" bottom: "data" top: "r@" }', n), ""),
        "unknown fields": (DATA + 'layer { name: "x" type: "ReLU" bottom: "data" top: "x" ' + many("x_@: 1", n) + " }", ""),
        "fields like one that is missing": (conv("kernel_size: 1 " + many("numm_output_@: 1", n)), "'num_output' is missing"),
        "fields of one name": (layer("ReLU", "unknown_param", "a: 1 " * n), ""),
        "messages of one name": (DATA + 'layer { name: "x" type: "ReLU" bottom: "data" top: "x" ' + "include { stage: 'a' } " * n + "}", ""),
        "bottoms": (DATA + 'layer { name: "x" type: "Concat" ' + 'bottom: "data" ' * n + 'top: "x" }', ""),
        "tops": (DATA + 'layer { name: "x" type: "Split" bottom: "data" ' + many('top: "t@"', n) + "}", ""),
        "bottoms and tops": (DATA + 'layer { name: "x" type: "Odd" ' + 'bottom: "data" ' * n + many('top: "t@"', n) + "}", ""),
        "long names": (DATA.replace("data", "ab" * n) + f'layer {{ name: "b" type: "ReLU" bottom: "{"ba" * n}" top: "x" }}', "which no layer before it makes"),
        "many names": (many('layer { name: "@" type: "Input" top: "layer_@" }', n) + DATA.replace('"Input"', '"ReLU" bottom: "layer_x"'), "did you mean 'layer_"),
        "losses": (IMAGES + many('layer { name: "l@" type: "EuclideanLoss" bottom: "data" bottom: "label" top: "l@" }', n), "neither a loss nor an output"),
        "data layers": (many(IMAGES.replace('"data"', '"data@"').replace('"label"', '"l@"'), n) + "layer { name: 'x' type: 'Concat' top: 'x' " + many("bottom: 'data@'", n) + "}", "more than 100; give the deploy.prototxt"),
        "V1 layers": ("input: 'd' input_shape { dim: 1 } " + many("layers { name: 'r@' type: RELU bottom: 'd' top: 'r@' }", n), ""),
        "V0 layers": ("input: 'd' input_dim: [1, 2, 3, 4] " + many("layers { layer { name: 'r@' type: 'relu' } bottom: 'd' top: 'r@' }", n), ""),
    }  # fmt: skip


@pytest.mark.parametrize("name", TEXTS)
def test_prototxts(name, tmp_path):
    look(tmp_path, *TEXTS[name])


@pytest.mark.parametrize("name", counted(1))
def test_prototxts_of_many(name, tmp_path):
    look(tmp_path, *counted(FEW)[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", counted(1))
def test_prototxts_of_very_many(name, tmp_path):
    look(tmp_path, *counted(MANY)[name])


def look(folder, text: str, expected: str) -> None:
    path = folder / "net.prototxt"
    path.write_text(text)
    started = time.process_time()
    try:
        graph = read_network(path)
        summary(graph, shapes_of_one(graph))
        found = ""
    except DeepmergeError as error:
        found = str(error)
    assert time.process_time() - started < SECONDS
    assert expected in found and bool(expected) == bool(found), found[:1000]
    assert found.isprintable() and len(found) < 2500


M = 20_000
LAYERS, PARTS = 1000, 5000  # in the place of MAX_LAYERS and MAX_PARTS
MODELS: dict[str, tuple[bytes, str]] = {
    "empty layers": (block(100, b"") * (LAYERS + 1), "has over 1,000 layers"),
    "empty V1 layers": (block(2, b"") * (LAYERS + 1), "has over 1,000 layers"),
    "V0 layers in one": (block(2, block(1, b"") * M), ""),
    "empty blobs": (block(100, block(7, b"") * (PARTS + 1)), "over 5,000 blobs, bottoms and tops"),
    "bottoms": (block(100, block(3, b"ab") * (PARTS + 1)), "over 5,000 blobs, bottoms and tops"),
    "name": (block(100, block(1, b"\xff" * 10**7)), "a name of 10000000 bytes"),
    "axes": (block(100, block(7, block(7, block(1, b"\1" * 10**5)))), "has more than 32 axes"),
    "shapes": (block(100, block(7, block(7, block(1, b"\1" * 32)) * M)), "has more than 32 axes"),
    "overlong number": (b"\x80" * 10**6, "is cut off, or too long"),
    "long key": (b"\xc8\x80\x80\x80\x80\x80\x80\x80\x80\x00\x01" * M, "holds no layers"),
    "groups": (block(100, b"\x0b" * 10**6), "unknown wire type 3"),
    "layers in layers": (block(100, block(100, block(100, b""))), ""),
    "values one by one": (block(100, block(7, block(7, block(1, varint(M))) + (key(5, 5) + b"abcd") * M)), ""),
    "values one by one and packed": (block(100, block(7, block(7, block(1, varint(2 * M))) + (key(5, 5) + b"abcd" + block(5, b"abcd")) * M)), ""),
    "more bytes than there are": (block(100, b"") + key(100, 2) + varint(4 * 10**12), "claims 4000000000000 bytes where 0 are left"),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_caffemodels(name, tmp_path, monkeypatch):
    monkeypatch.setattr(caffemodel, "MAX_LAYERS", LAYERS)
    monkeypatch.setattr(caffemodel, "MAX_PARTS", PARTS)
    data, expected = MODELS[name]
    path = tmp_path / "net.caffemodel"
    path.write_bytes(data)
    started = time.process_time()
    tracemalloc.start()
    try:
        caffemodel.read_caffemodel(path)
        found = ""
    except DeepmergeError as error:
        found = str(error)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert time.process_time() - started < SECONDS and peak < MEGABYTES * 1e6
    assert expected in found and bool(expected) == bool(found), found[:1000]
    assert found.isprintable() and len(found) < 2500


@pytest.mark.parametrize("name", ["long string", "escapes", "pieces", "comments"])
def test_memory(name, tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(TEXTS[name][0][:200_000])
    tracemalloc.start()
    try:
        read_network(path)
    except DeepmergeError:
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < MEGABYTES * 1e6
