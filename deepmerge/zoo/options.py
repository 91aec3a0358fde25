"""What a manifest may say beside its own keys: the options of `deepmerge convert`, and how they become its words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from deepmerge.data import ImageWishes

FLAG, ONE, LISTED, MANY = "flag", "one", "listed", "many"


@dataclass(frozen=True)
class Option:
    """An option of convert.

    spelling: as on the command line. kind: FLAG; ONE value; LISTED, words between commas; MANY, it may be repeated.
    reads: "file" if its value is a file, "images" if it is a source of images, "" if it is neither.
    """

    spelling: str
    kind: str = ONE
    reads: str = ""

    def words(self, value: Any) -> tuple[str, ...]:
        """Return the words of a command line that give this value; ValueError if TOML's value is of another kind."""
        if self.kind == FLAG:
            if not isinstance(value, bool):
                raise ValueError(f"expected true or false, found {value!r}")
            return (self.spelling,) if value else ()
        if self.kind == MANY:
            if isinstance(value, Mapping):
                value = [f"{key}={_text(one)}" for key, one in value.items()]
            values = [_text(one) for one in (value if isinstance(value, list) else [value])]
        elif self.kind == LISTED and isinstance(value, list):
            values = [",".join(map(_text, value))]
        else:
            values = [_text(value)]
        return tuple(f"{self.spelling}={one}" for one in values)


Options = Mapping[str, Option]


class Converter(Protocol):
    """`deepmerge convert`, as the command line hands it to a zoo: the zoo itself knows no command line.

    options: by their keys in a manifest. It can be pickled.
    """

    @property
    def options(self) -> Options:
        """The options that a manifest may give, by their keys there."""

    @property
    def check(self) -> Callable[[Sequence[str]], object]:
        """Raises ValueError if a value of these words is wrong."""

    @property
    def convert(self) -> Callable[[Sequence[str]], ImageWishes]:
        """Runs the command with these words, and returns their image options.

        It raises what is wrong, and can be pickled.
        """


def _text(value: Any) -> str:
    """Return a TOML value as one word; a list of numbers, such as a mean, has commas between them."""
    if isinstance(value, list) and value and all(type(one) in (int, float) for one in value):
        return ",".join(map(str, value))
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError(f"expected a string or a number, found {value!r}")
    return str(value)
