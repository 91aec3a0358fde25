"""Finding the models in a folder: which caffemodel belongs to which prototxt."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from pathlib import Path

from deepmerge.errors import ReadError
from deepmerge.formats.read.files import walk
from deepmerge.names import for_path

_WEIGHTS = (".caffemodel", ".caffemodel.h5")
_TRAINING = ("solver", "train", "test")  # in the names of prototxts that are not for deployment


def find_models(folder: Path) -> tuple[list[tuple[str, str, str]], list[str]]:
    """Return name, prototxt and caffemodel of each pair in a folder and its folders, and the weights without one.

    Paths begin with the folder, as it was given. ReadError if it is no folder, or holds no weights.
    """
    if not folder.is_dir():
        raise ReadError("is not a folder" if folder.exists() else "no such folder", folder)
    pairs, alone = [], []
    for root, _, names in walk(folder):
        texts = [name for name in names if name.endswith(".prototxt")]
        weights = [name for name in names if name.endswith(_WEIGHTS)]
        for name in weights:
            text = _prototxt(name, texts, len(weights))
            place = Path(root, name)
            if text is None:
                alone.append(str(place))
            else:
                pairs.append((_name(folder, place, len(weights)), str(Path(root, text)), str(place)))
    if not pairs and not alone:
        raise ReadError("holds no caffemodel", folder, remedy="give a folder with .caffemodel files in it")
    taken: set[str] = set()
    trios = []
    for name, *files in pairs:
        name = _free(name, taken)
        taken.add(_key(name))
        trios.append((name, *files))
    return trios, alone


def _free(name: str, taken: Collection[str]) -> str:
    """Return the name, or the first of NAME_2, NAME_3 … whose folder in OUT is not another model's."""
    numbered = (f"{name}_{number}" for number in itertools.count(2))
    return next(one for one in itertools.chain([name], numbered) if _key(one) not in taken)


def _key(name: str) -> str:
    return for_path(name).lower()  # some systems do not tell A from a


def _prototxt(weights: str, texts: Sequence[str], weights_here: int) -> str | None:
    """Return the prototxt of a caffemodel: the one with its name, the one for deployment, or the only one."""
    stem = _stem(weights)
    same = [f"{stem}{ending}.prototxt" for ending in ("", "_deploy", "-deploy", ".deploy")]
    for text in [*same, f"deploy_{stem}.prototxt"]:
        if text in texts:
            return text
    if weights_here > 1:
        return None
    deploy = [text for text in texts if "deploy" in text.lower()]
    plain = [text for text in texts if not any(word in text.lower() for word in _TRAINING)]
    training = [text for text in texts if "solver" not in text.lower()]
    return next((found[0] for found in (deploy, plain, training) if len(found) == 1), None)


def _stem(weights: str) -> str:
    return weights.removesuffix(".h5").removesuffix(".caffemodel")


def _name(folder: Path, weights: Path, weights_here: int) -> str:
    """Return the path of a model's folder where it is alone in there, else its file's name."""
    inner = weights.parent.relative_to(folder).as_posix()
    if inner == ".":
        return _stem(weights.name)
    return inner if weights_here == 1 else f"{inner}/{_stem(weights.name)}"
