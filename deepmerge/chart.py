"""What every chart shares: a figure of matplotlib without a window, of a bounded size, saved to the same bytes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from deepmerge.errors import EngineError
from deepmerge.temporary import file_beside

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MISSING = "{} needs matplotlib: pip install 'deepmerge-caffe[plot]'"
_DPI = 120
_MOST = 100.0  # inches of width and of height: 12,000 pixels, more than any screen has
# No date and no version in the file: the same figures give the same picture.
_METADATA = {
    ".png": {"Software": None},
    ".svg": {"Date": None, "Creator": None},
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


@contextmanager
def chart(option: str, file: Path, width: float, height: float) -> Iterator[Figure]:
    """Give a figure to draw in, and save it at the end; the file name's suffix gives the format (png, svg, pdf).

    Parameters
    ----------
    option : str
        The option that asks for the chart, named in errors.
    file : Path
        Where to save it.
    width, height : float
        Inches; at most 100 each are used.

    Raises
    ------
    EngineError
        Where matplotlib is missing or does not know the format.
    OSError
        Where the file cannot be written.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise EngineError(_MISSING.format(option)) from None
    figure = Figure((min(width, _MOST), min(height, _MOST)), layout="constrained")
    FigureCanvasAgg(figure)  # no pyplot, which would look for a screen
    yield figure
    kind = file.suffix.lower()
    try:
        with (
            file_beside(file) as partial,
            rc_context({"svg.hashsalt": "deepmerge"}),
        ):  # else the ids in an SVG are random
            figure.savefig(partial, dpi=_DPI, format=kind[1:], metadata=_METADATA.get(kind))
            partial.replace(file)
    except ValueError as error:
        raise EngineError(f"{option} {file}: {error}") from None


def check_chart(option: str, file: Path | None) -> None:
    """Raise EngineError if `figure` could not save this file: it is drawn after minutes of measuring."""
    if file is None:
        return
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
    except ImportError:
        raise EngineError(_MISSING.format(option)) from None
    kinds = sorted(FigureCanvasAgg.get_supported_filetypes())
    if file.suffix.lower()[1:] not in kinds:
        raise EngineError(f"{option} {file}: is no picture; its name must end in one of {', '.join(kinds)}")
    if not file.parent.is_dir():
        raise EngineError(f"{option} {file}: there is no folder {file.parent}")
