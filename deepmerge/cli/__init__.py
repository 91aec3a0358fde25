"""The command line: the only place that prints or exits. Each command imports what it needs when it runs."""

from deepmerge.cli.main import main

__all__ = ["main"]
