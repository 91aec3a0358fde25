"""DeepRebirth's figures (AAAI 2018), table by table, measured on ImageNet's networks with Caffe.

Table 3's times and Table 7 are missing: they are not known to us.
"""

from __future__ import annotations

# network → share of the time in non-tensor layers on (Intel x86, Arm, Titan X)
NON_TENSOR = {
    "AlexNet": ("32.08 %", "25.08 %", "22.37 %"),
    "GoogLeNet": ("62.03 %", "37.81 %", "26.14 %"),
    "ResNet-50": ("55.66 %", "36.61 %", "47.87 %"),
    "ResNet-152": ("49.77 %", "–", "44.49 %"),
}
# step of GoogLeNet → top-5 after it
STEPS = {
    "original": "88.89 %",
    "conv1": "88.73 %",
    "conv2": "88.82 %",
    "inception_3a": "88.50 %",
    "inception_3b": "88.27 %",
    "inception_4a": "88.60 %",
    "inception_4b-4d": "88.61 %",
    "inception_4e": "88.43 %",
    "inception_5a": "88.41 %",
    "inception_5b": "88.43 %",
    "Tucker": "86.54 %",
}
MODELS = ("GoogLeNet", "Tucker", "Merge", "Merge-Tucker", "SqueezeNet")
# device → milliseconds of the MODELS
TIMES = {
    "Moto E": (1168.8, 897.9, 406.7, 213.3, 291.4),
    "Samsung Galaxy S5": (651.4, 614.9, 210.6, 106.3, 136.3),
    "Samsung Galaxy S6": (424.7, 342.5, 107.7, 65.34, 75.34),
    "Macbook Pro (CPU)": (91.77, 78.22, 23.69, 15.18, 17.63),
    "Titan X": (10.17, 10.74, 6.57, 7.68, 3.29),
}
# model → energy, mJ; storage, MB; run-time memory, MB; largest batch on a Titan X
LOADS = {
    "GoogLeNet": (984, 26.72, 33.2, 350),
    "Tucker": (902, 14.38, 35.8, 323),
    "Merge": (447, 23.77, 13.2, 882),
    "Merge-Tucker": (226, 11.99, 14.8, 785),
    "SqueezeNet": (288, 4.72, 36.5, 321),
}
# step of AlexNet → top-5, time, energy
ALEXNET = {
    "original": ("80.03 %", "445 ms", "688 mJ"),
    "conv1": ("79.99 %", "343 ms (1.29×)", "555 mJ (1.24×)"),
    "conv2": ("79.57 %", "274 ms (1.63×)", "458 mJ (1.51×)"),
}


def of_step(name: str) -> str:
    """Return Table 2's figure for one of our steps; 4d, the last of three, has that of the paper's 4b-4d."""
    return STEPS.get("inception_4b-4d" if name == "inception_4d" else name, "–")
