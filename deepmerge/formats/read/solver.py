"""solver.prototxt → Solver. Caffe: solver.cpp, upgrade_proto.cpp, sgd_solver.cpp."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from deepmerge.errors import ReadError
from deepmerge.formats import schema
from deepmerge.formats.read.prototxt import read_prototxt
from deepmerge.formats.read.scalars import Reader
from deepmerge.graph.tree import Field, Message, Quoted, Token
from deepmerge.text import nearest

TYPES = ("SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam")
# The fields that each policy needs. Caffe: SGDSolver::GetLearningRate
POLICIES: dict[str, tuple[str, ...]] = {
    "fixed": (),
    "step": ("gamma", "stepsize"),
    "exp": ("gamma",),
    "inv": ("gamma", "power"),
    "multistep": ("gamma", "stepvalue"),
    "poly": ("power", "max_iter"),
    "sigmoid": ("gamma", "stepsize"),
}
REGULARISERS = ("L2", "L1")
_SCALARS = tuple(
    """
    base_lr lr_policy gamma power stepsize max_iter iter_size momentum momentum2 rms_decay delta weight_decay
    regularization_type clip_gradients display average_loss test_interval test_initialization snapshot
    snapshot_prefix snapshot_format snapshot_after_train random_seed
    """.split()
)
_FINITE = "base_lr gamma power momentum momentum2 rms_decay delta weight_decay clip_gradients".split()
_KIND = "SolverParameter"
_NETS = ("train_net_param", "train_net", "net_param", "net")
_WITHOUT_MOMENTUM = ("AdaGrad", "RMSProp")  # Caffe: sgd_solvers.hpp, constructor_sanity_check


@dataclass(frozen=True)
class NetSource:
    """One network that a solver names: a file, or a message in the solver itself.

    state: the NetState that goes with it (stages, level), empty if the solver gives none.
    """

    path: Path
    tree: Message | None = field(default=None, repr=False, compare=False)
    state: Message = field(default_factory=Message, repr=False, compare=False)


@dataclass(frozen=True, kw_only=True)
class Solver:
    """Caffe's SolverParameter with its names and defaults; `tree` is the whole message, with overrides.

    tests: a network and a number of batches (test_iter) for each test. weights: snapshots that training starts from.
    """

    path: Path
    tree: Message = field(repr=False, compare=False)
    train: NetSource
    tests: tuple[tuple[NetSource, int], ...] = ()
    type: str = "SGD"
    base_lr: float
    lr_policy: str = "fixed"
    gamma: float = 0.0
    power: float = 0.0
    stepsize: int = 0
    stepvalue: tuple[int, ...] = ()
    max_iter: int
    iter_size: int = 1
    momentum: float = 0.0
    momentum2: float = 0.999
    rms_decay: float = 0.99
    delta: float = 1e-8
    weight_decay: float = 0.0
    regularization_type: str = "L2"
    clip_gradients: float = -1.0
    display: int = 0
    average_loss: int = 1
    test_interval: int = 0
    test_initialization: bool = True
    snapshot: int = 0
    snapshot_prefix: str = ""
    snapshot_format: str = "BINARYPROTO"
    snapshot_after_train: bool = True
    random_seed: int = -1
    weights: tuple[str, ...] = ()


def read_solver(path: str | Path, overrides: Mapping[str, str] | None = None, folders: Iterable[Path] = ()) -> Solver:
    """Return the solver in a file.

    overrides: name → text of fields that replace the file's; commas separate the values of a repeated one.
    folders: where its networks are searched for, after the solver's own folder and before the current one.
    ReadError for a file that is not a solver, a field of another kind, a missing network, and everything that Caffe's
    own checks refuse: an unknown policy or type, a field that a policy needs, numbers out of range.
    """
    path = Path(path)
    tree = read_prototxt(path)
    if any(name in tree for name in ("layer", "layers")):
        raise ReadError("is a network's prototxt, not a solver's; give the solver.prototxt", path)
    if not any(f.name in schema.fields(_KIND) for f in tree):
        raise ReadError("has no field of Caffe's solver; give the solver.prototxt", path)
    for key, text in (overrides or {}).items():
        _override(tree, key, text, path)
    reader = Reader(tree, _KIND, path, "")
    _check_fields(reader)
    train, tests = _networks(reader, [path.parent, *map(Path, folders), Path()])
    made = Solver(path=path, tree=tree, train=train, tests=tests, type=_type(reader), **_plain(reader))
    _check(made, reader)
    return made


def _override(tree: Message, key: str, text: str, path: Path) -> None:
    known = schema.fields(_KIND).get(key)
    if known is None or known.kind == "message":
        raise ReadError(f"Caffe's solver has no field {key!r} to override", path)
    values = [v.strip() for v in text.split(",")] if known.repeated else [text.strip()]
    tree.set(key, *(Quoted(v.strip("\"'")) if known.kind == "string" else Token(v) for v in values))
    if key == "type":
        tree.remove("solver_type")
    elif key == "solver_type":
        tree.remove("type")


def _check_fields(reader: Reader) -> None:
    """Raise ReadError for an unknown field, a value of another kind, or a field given twice, as Caffe does."""
    seen: dict[str, Field] = {}
    for one in reader.message:
        known = reader.known.get(one.name)
        if known is None:
            near = nearest(one.name, reader.known, 1, 0.6)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise reader.error(f"Caffe's solver has no field {one.name!r}{hint}", one)
        reader.convert(one)
        if not known.repeated and one.name in seen:
            raise reader.error(
                f"{one.name!r} is given twice (first in line {seen[one.name].line}); keep one of them", one
            )
        seen[one.name] = one


def _plain(reader: Reader) -> dict:
    """Return the scalars, with Caffe's defaults; proto's 0 or "" if the schema declares none."""
    made = {name: reader.one(name) for name in _SCALARS}
    empty = {"string": "", "float": 0.0}
    made = {k: empty.get(reader.known[k].kind, 0) if v is None else v for k, v in made.items()}
    texts = (text for value in reader.all("weights") for text in value.split(","))
    return made | {"stepvalue": tuple(reader.all("stepvalue")), "weights": tuple(t.strip() for t in texts if t.strip())}


def _type(reader: Reader) -> str:
    """Return `type`, or what the older solver_type says. Caffe: UpgradeSolverType."""
    old = {name.upper(): name for name in TYPES}
    if reader.has("solver_type"):
        at = next(f for f in reader.message if f.name == "solver_type")
        if reader.has("type"):
            raise reader.error("has both type and solver_type, its older form; keep type", at)
        found = reader.one("solver_type")
        if found not in old:
            raise reader.error(f"solver_type {found} is none of {', '.join(old)}", at)
        return old[found]
    found = reader.one("type")
    if found not in TYPES:
        near = nearest(found, TYPES, 1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; give one of {', '.join(TYPES)}"
        raise reader.error(f"type {found!r} is not a solver of Caffe's{hint}", _at(reader, "type"))
    return found


def _at(reader: Reader, *names: str) -> Field | None:
    return next((f for f in reader.message if f.name in names), None)


# -- networks -------------------------------------------------------------------------------------


def _networks(reader: Reader, folders: list[Path]) -> tuple[NetSource, tuple[tuple[NetSource, int], ...]]:
    """Return the network to train, and those to test with. Caffe: Solver::InitTrainNet, InitTestNets."""
    given = [name for name in _NETS if reader.has(name)]
    if len(given) != 1:
        text = f"names {len(given)} networks to train ({', '.join(given)})" if given else "names no network to train"
        raise reader.error(f'{text}; give one, such as net: "train_val.prototxt"', _at(reader, *given))
    train = _source(reader, given[0], reader.one(given[0]), folders, reader.message.message("train_state"))
    named = [(name, value) for name in ("test_net_param", "test_net") for value in reader.all(name)]
    batches = reader.all("test_iter")
    generic = given[0] if given[0] in ("net", "net_param") else ""
    if len(batches) < len(named) or (len(batches) > len(named) and not generic):
        text = f"has {len(batches)} test_iter for {len(named)} test networks; give one for each"
        raise reader.error(text, _at(reader, "test_iter", "test_net", "test_net_param"))
    named += [(generic, reader.one(generic))] * (len(batches) - len(named)) if generic else []
    states = reader.all("test_state")
    if states and len(states) != len(named):
        raise reader.error(
            f"has {len(states)} test_state for {len(named)} tests; give one for each", _at(reader, "test_state")
        )
    padded = states or [None] * len(named)
    tests = [_source(reader, name, value, folders, state) for (name, value), state in zip(named, padded, strict=True)]
    return train, tuple(zip(tests, batches, strict=True))


def _source(reader: Reader, name: str, value: str | Message, folders: list[Path], state: Message | None) -> NetSource:
    state = state or Message()
    if isinstance(value, Message):
        return NetSource(Path(reader.file), value, state)
    places = list(dict.fromkeys(folder / value for folder in folders))
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise reader.error(
            f"{name} {value!r} is not there; it was looked for as {', '.join(map(str, places))}", _at(reader, name)
        )
    return NetSource(found, None, state)


# -- what Caffe's checks refuse ---------------------------------------------------------------------


def _check(solver: Solver, reader: Reader) -> None:
    for name, wrong, wanted in _ranges(solver):
        if wrong:
            raise reader.error(f"{name} is {getattr(solver, name)}; {wanted}", _at(reader, name))
    if solver.tests and solver.test_interval < 1:
        raise reader.error(
            "has test_iter, but no test_interval; give how many iterations lie between tests", _at(reader, "test_iter")
        )
    if any(count < 1 for _, count in solver.tests):
        raise reader.error("test_iter must be 1 or more", _at(reader, "test_iter"))
    _check_policy(solver, reader)


def _ranges(s: Solver) -> Iterable[tuple[str, bool, str]]:
    """Yield (field, whether its value is out of range, what to give)."""
    for name in _FINITE:
        yield name, not math.isfinite(getattr(s, name)), "give a finite number"
    yield "base_lr", s.base_lr < 0, "give a number above 0"
    yield "iter_size", s.iter_size < 1, "give 1 or more"
    yield "average_loss", s.average_loss < 1, "give 1 or more"
    yield "max_iter", s.max_iter < 0, "give how many iterations to train for"
    for name in ("display", "test_interval", "snapshot"):
        yield name, getattr(s, name) < 0, "give 0 for never, or a number of iterations"
    yield (
        "momentum",
        s.type in _WITHOUT_MOMENTUM and s.momentum != 0,
        f"{s.type} has none, and Caffe refuses it; set it to 0",
    )
    yield "momentum", s.type == "Adam" and not 0 <= s.momentum < 1, "Adam needs 0 or more, and less than 1"
    yield "momentum2", s.type == "Adam" and not 0 <= s.momentum2 < 1, "Adam needs 0 or more, and less than 1"
    yield "rms_decay", s.type == "RMSProp" and not 0 <= s.rms_decay < 1, "RMSProp needs 0 or more, and less than 1"
    yield "regularization_type", s.regularization_type not in REGULARISERS, f"give one of {', '.join(REGULARISERS)}"


def _check_policy(solver: Solver, reader: Reader) -> None:
    policy = solver.lr_policy
    if policy not in POLICIES:
        near = nearest(policy, POLICIES, 1, 0.6)
        hint = f"did you mean {near[0]!r}?" if near else f"give one of {', '.join(POLICIES)}"
        said = f"lr_policy {policy!r} is not a policy of Caffe's" if policy else "has no lr_policy"
        raise reader.error(f"{said}; {hint}", _at(reader, "lr_policy"))
    for name in ("base_lr", "max_iter", *POLICIES[policy]):
        if not reader.has(name):
            whose = f"lr_policy {policy!r} needs it" if name in POLICIES[policy] else "training needs it"
            raise reader.error(f"{name} is missing; {whose}")
    if "stepsize" in POLICIES[policy] and solver.stepsize < 1:
        raise reader.error(f"stepsize is {solver.stepsize}; give 1 or more", _at(reader, "stepsize"))
    # Old versions of Caffe fall with a negative gamma in sigmoid
    if "gamma" in POLICIES[policy] and solver.gamma < 0 and policy != "sigmoid":
        raise reader.error(f"gamma is {solver.gamma}; lr_policy {policy!r} needs 0 or more", _at(reader, "gamma"))
