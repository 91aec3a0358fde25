"""The public Python API: load a network, plan, convert, verify, recover, fine-tune, evaluate, tabulate.

>>> import deepmerge
>>> network = deepmerge.load(
...     "models/inception_mini/inception_mini.prototxt", "models/inception_mini/inception_mini.caffemodel"
... )
>>> network.costs["layers"], network.costs["macs"]
(57, 18479616)
>>> plan = network.plan(steps="conv1,conv2")
>>> [step.name for step in plan.steps]
['conv1', 'conv2']
>>> network.convert(plan).costs["macs"]
12507648

Every function raises `DeepmergeError` with a message of one line. The commands call these functions: what
`network.convert(plan, "out")` writes is, byte for byte, what `deepmerge convert` writes with the same options.
"""

from deepmerge.api.frontier import Frontier
from deepmerge.api.measures import evaluate, tabulate, verify
from deepmerge.api.network import Conversion, Network, load
from deepmerge.api.plan import Plan
from deepmerge.api.training import finetune, recover
from deepmerge.data import ImageWishes
from deepmerge.graph.costs import LayerCost
from deepmerge.passes.support.base import Refusal
from deepmerge.plan import Recipe, Step, read_recipe

__all__ = [
    "Conversion",
    "Frontier",
    "ImageWishes",
    "LayerCost",
    "Network",
    "Plan",
    "Recipe",
    "Refusal",
    "Step",
    "evaluate",
    "finetune",
    "load",
    "read_recipe",
    "recover",
    "tabulate",
    "verify",
]
