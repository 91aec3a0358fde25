"""Everything that deepmerge raises on purpose.

The library raises, the command line translates: each message is one line that names the file, the
place, what was found and the way out.
"""

from __future__ import annotations

MAX_LENGTH = 2000  # characters of a message


class DeepmergeError(Exception):
    """Base of all; the command line prints it as one line and exits with code 1."""

    def __init__(self, message: str = ""):
        super().__init__(one_line(message))


class ReadError(DeepmergeError):
    """A file that cannot be read as what it is said to be."""

    def __init__(self, message: str, file=None, line: int | None = None, column: int | None = None):
        place = "" if file is None else str(file)
        if line is not None:
            place += f":{line}" + (f":{column}" if column is not None else "")
        super().__init__(f"{place}: {message}" if place else message)
        self.file, self.line, self.column = file, line, column


class SourceError(ReadError):
    """A source of images that has gone, or whose images do not fit the network: going on to the next image is no help."""


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
    """Training that cannot go on: a loss that is no number, a checkpoint that cannot be written or is of another run."""


def one_line(text: object, most: int = MAX_LENGTH) -> str:
    """The text as a terminal may show it, whatever a file has put into it.

    Line breaks and other control characters are escaped; of a text that is too long, the middle is left out.
    """
    text = str(text)
    if len(text) > most:
        text = f"{text[: most * 3 // 4]} … {text[-most // 5 :]}"
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
