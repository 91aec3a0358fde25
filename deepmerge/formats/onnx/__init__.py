"""Graph → ONNX that computes what Caffe computes: with its rounding, its divisors and its order of ties.

Loads onnx: import it where it is used, not at the top of a module.
"""

from __future__ import annotations

from deepmerge.formats.onnx.model import to_onnx
from deepmerge.formats.onnx.names import tensor_names
from deepmerge.formats.onnx.store import too_large, write_model, write_onnx

__all__ = ["tensor_names", "to_onnx", "too_large", "write_model", "write_onnx"]
