"""Networks that run at any batch, or at one only."""

from __future__ import annotations


def net(*shapes, body=""):
    text = ""
    for index, shape in enumerate(shapes):
        dims = " ".join(f"dim: {dim}" for dim in shape)
        text += f'layer {{ name: "x{index}" type: "Input" top: "x{index}" input_param {{ shape {{ {dims} }} }} }}\n'
    return text + body


FLAT = 'layer { name: "y" type: "Reshape" bottom: "x0" top: "y" reshape_param { shape { dim: %s dim: %s } } }'
