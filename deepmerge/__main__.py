"""The command `deepmerge`, which is also `python -m deepmerge`, as a process of its own."""

import os
import sys

from deepmerge.signals import ending


def main() -> None:
    """Run the command that the words name, and exit."""
    with ending():  # while the commands are loaded, too
        _open_streams()
        from deepmerge.cli import main as commands

        commands(prog_name="deepmerge")


def _open_streams() -> None:
    """Open the null device as each standard stream that is closed, before a file gets its number."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            handle = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(handle, True)  # for processes that we start, as open streams are
            setattr(sys, name, open(handle, "r" if name == "stdin" else "w"))


if __name__ == "__main__":
    main()
