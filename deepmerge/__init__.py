"""deepmerge makes a trained Caffe network fast by merging its layers.

The public names below are loaded when they are first used, so that `import deepmerge` itself loads nothing.
"""

TYPE_CHECKING = False  # type checkers take it for typing.TYPE_CHECKING
if TYPE_CHECKING:
    from deepmerge.api import (
        Conversion,
        Frontier,
        ImageWishes,
        LayerCost,
        Network,
        Plan,
        Recipe,
        evaluate,
        finetune,
        load,
        read_recipe,
        recover,
        tabulate,
        verify,
    )
    from deepmerge.errors import DeepmergeError

__version__ = "0.1.0"
__all__ = [
    "Conversion",
    "DeepmergeError",
    "Frontier",
    "ImageWishes",
    "LayerCost",
    "Network",
    "Plan",
    "Recipe",
    "evaluate",
    "finetune",
    "load",
    "read_recipe",
    "recover",
    "tabulate",
    "verify",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'deepmerge' has no attribute {name!r}")
    if name == "DeepmergeError":
        from deepmerge.errors import DeepmergeError

        return DeepmergeError
    from deepmerge import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
