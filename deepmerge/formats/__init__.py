"""Caffe's files and ONNX: reading and writing. Loads nothing by itself."""

DISTINCT_TOPS, LEGACY_INPUT, AXIS_WINDOWS = "distinct-tops", "legacy-input", "axis-windows"
GROUP_DEPTHWISE, GLOBAL_STATS = "group-depthwise", "global-stats"
STYLES = (
    DISTINCT_TOPS,
    LEGACY_INPUT,
    AXIS_WINDOWS,
    GROUP_DEPTHWISE,
    GLOBAL_STATS,
)  # of deploy.prototxt, see write/style.py
WRITTEN_OUT, OPERATOR = "written-out", "op"
LRN_FORMS = (WRITTEN_OUT, OPERATOR)  # of LRN over channels in ONNX, the usual one first; see onnx/normalise.py
INT8 = "onnx-int8"
FORMATS = ("caffe", "onnx", INT8)  # that a conversion writes
INT8_FILE = "model-int8.onnx"
INT8_METHODS = ("average", "minmax", "percentile", "entropy")  # the usual one first; see engines/quantize.py
