"""Python, deepmerge itself and the packages that it needs or can use."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import platform
import re
import sys
from pathlib import Path

import deepmerge
from deepmerge.doctor.check import Check
from deepmerge.errors import DeepmergeError
from deepmerge.text import flat

FOLDER = Path(__file__).parents[1]  # of deepmerge; `deepmerge.__file__` is None if its __init__.py is gone
DISTRIBUTION = "deepmerge-caffe"
NAMESAKE = "deepmerge"  # another distribution on PyPI, with the same import name
NAMESAKE_FILES = ("merger.py", "strategy", "extended_set.py")  # what it puts into a folder of our package's name


def python() -> Check:
    """Report which Python runs."""
    version = platform.python_version()
    return Check("python", "ok", f"{version} ({sys.executable})", details={"version": version})


def deepmerge_itself() -> Check:
    """Report which deepmerge runs, and from where."""
    version = getattr(deepmerge, "__version__", None)
    details = {"version": version, "path": str(FOLDER)}
    installed = installed_version(DISTRIBUTION)
    again = f"pip install --force-reinstall {DISTRIBUTION} (in a checkout: pip install -e .)"
    if version is None:
        return Check("deepmerge", "missing", f"{FOLDER / '__init__.py'} is gone, or another package's", again, details)
    if installed is None:
        return Check("deepmerge", "ok", f"{version} in {FOLDER}, not installed by pip", details=details)
    if installed != version:
        return Check(
            "deepmerge", "warning", f"{version} in {FOLDER}, but pip has installed {installed}", again, details
        )
    return Check("deepmerge", "ok", f"{version} in {FOLDER}", details=details)


def namesake() -> Check:
    """Look for PyPI's `deepmerge`, which merges dictionaries and has the same import name as ours."""
    name = f"PyPI's {NAMESAKE!r}"
    installed = installed_version(NAMESAKE)
    foreign = [file for file in NAMESAKE_FILES if (FOLDER / file).exists()]
    details = {"installed": installed, "files": foreign}
    if installed is None and not foreign and not hasattr(deepmerge, "always_merger"):
        return Check(name, "ok", "not installed (it is another package of the same import name)", details=details)
    remedy = f"pip uninstall {NAMESAKE}; pip install --force-reinstall {DISTRIBUTION}"
    remedy += " (use two environments if you need both)"
    if hasattr(deepmerge, "always_merger"):
        return Check(
            name, "missing", "it has overwritten this package: `import deepmerge` gives that one", remedy, details
        )
    if installed is None:
        return Check(name, "warning", f"it has left {', '.join(foreign)} in {FOLDER}", remedy, details)
    return Check(
        name,
        "warning",
        f"{installed} is installed: another package that has the same import name as this one",
        remedy,
        details,
    )


def package(name: str, module: str) -> Check:
    """Look at a package that deepmerge needs: whether it is there and can be imported."""
    remedy = f"pip install '{name}{wanted_versions(name)}'"
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and module.startswith(error.name):
            return Check(name, "missing", "not installed", remedy)
        return Check(name, "missing", f"cannot be imported: {reason(error)}", f"pip install --force-reinstall {name}")
    except Exception as error:  # a broken installation can fail in any way
        return Check(
            name,
            "missing",
            f"cannot be imported: {reason(error)}",
            f"pip install --force-reinstall '{name}{wanted_versions(name)}'",
        )
    version = installed_version(name) or getattr(sys.modules[module], "__version__", "of unknown version")
    return Check(name, "ok", version, details={"version": version})


def optional_package(name: str, purpose: str) -> Check:
    """Look at a package that deepmerge can do without."""
    if importlib.util.find_spec(name) is None:
        return Check(name, "absent", f"not installed; for {purpose}", f"pip install {name}")
    version = installed_version(name) or "of unknown version"
    return Check(name, "ok", version, details={"version": version})


def schema() -> Check:
    """Check that the installed protobuf loads Caffe's schema and can make classes from it."""
    try:
        from deepmerge.formats import schema as caffe_schema

        layer_fields = len(caffe_schema.fields("LayerParameter"))
        caffe_schema.message_class("NetParameter")
    except DeepmergeError as error:
        return Check("schema", "missing", reason(error), "pip install -e . in a checkout builds it")
    except Exception as error:  # protobuf is broken, or too old or new
        remedy = f"pip install 'protobuf{wanted_versions('protobuf')}'"
        return Check("schema", "missing", f"does not load: {reason(error)}", remedy)
    return Check(
        "schema", "ok", f"caffe.proto, {layer_fields} fields in a layer", details={"layer_fields": layer_fields}
    )


def installed_version(distribution: str) -> str | None:
    """Return the version that pip has installed; None if there is none."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def wanted_versions(name: str) -> str:
    """Return the versions that our own distribution needs, such as ">=1.14"; "" if it is not installed."""
    try:
        requirements = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        return ""
    for requirement in requirements:
        match = re.match(rf"{re.escape(name)}\s*([<>=!~][^;]*)?(;|$)", requirement, re.IGNORECASE)
        if match and "extra" not in requirement:
            return (match[1] or "").replace(" ", "")
    return ""


def reason(error: Exception) -> str:
    """Return an error's message as one line; its type if it has none."""
    return flat(error) or type(error).__name__
