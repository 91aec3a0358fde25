"""Everything that deepmerge raises on purpose.

The library raises, the command line translates: each message is one line that names the file, the
place, what was found and the way out.
"""

from __future__ import annotations

from pathlib import Path

from deepmerge.names import for_terminal


class DeepmergeError(Exception):
    """Base of all; the command line prints it as one line and exits with code 1.

    file: the path that it is about, which the message names as well; None if none.
    layer: the name of the layer that it is about; "" if none. remedy: what the user can do; it ends the line.
    reason: the line without the remedy.
    """

    def __init__(self, message: str = "", *, file: str | Path | None = None, layer: str = "", remedy: str = ""):
        super().__init__(for_terminal(f"{message}; {remedy}" if remedy else message))
        self.file, self.layer, self.remedy, self.reason = file, layer, remedy, for_terminal(message)


class ReadError(DeepmergeError):
    """A file that cannot be read as what it is said to be."""

    def __init__(
        self,
        message: str,
        file: str | Path | None = None,
        line: int | None = None,
        column: int | None = None,
        *,
        layer: str = "",
        remedy: str = "",
    ):
        place = "" if file is None else str(file)
        if line is not None:
            place += f":{line}" + (f":{column}" if column is not None else "")
        super().__init__(f"{place}: {message}" if place else message, file=file, layer=layer, remedy=remedy)
        self.line, self.column = line, column


class SourceError(ReadError):
    """A source of images that is gone, or whose images do not fit the network. The next image will not help."""


class GraphError(DeepmergeError):
    """A network whose layers do not fit together, or an edit that would break one."""


class ShapeError(GraphError):
    """A layer whose bottoms, parameters and weights do not agree in shape."""


class PassError(DeepmergeError):
    """A pass asked for something that it cannot do."""


class PlanError(DeepmergeError):
    """A recipe or a choice of steps that does not fit the network."""


class EmitError(DeepmergeError):
    """Output that cannot be written."""


class EngineError(DeepmergeError):
    """An engine that is not there, or that failed to run a network."""


class TrainingError(DeepmergeError):
    """Training that cannot continue: it diverged, or its checkpoint cannot be written or is of another run."""


def one_line(error: BaseException, bug: str) -> str:
    """Return what to say about an error. bug: what to do about one that is not raised on purpose."""
    if isinstance(error, DeepmergeError):
        return str(error)
    if isinstance(error, MemoryError):
        return "out of memory; use smaller batches or a machine with more memory"
    if isinstance(error, OSError):
        return f"{error.filename or 'the output'}: {error.strerror or error}"
    return f"a bug in deepmerge ({type(error).__name__}: {error}); {bug}"
