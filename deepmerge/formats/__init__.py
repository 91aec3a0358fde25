"""Caffe's files and ONNX: reading and writing. Loads nothing by itself."""

DISTINCT_TOPS, LEGACY_INPUT = "distinct-tops", "legacy-input"
STYLES = (DISTINCT_TOPS, LEGACY_INPUT)  # of deploy.prototxt, see write/style.py
