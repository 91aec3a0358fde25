"""The command group. It turns errors into one line and exit code 1 (2 for usage)."""

from __future__ import annotations

import atexit
import gc
import sys

import click

import deepmerge
from deepmerge.cli.bench import bench
from deepmerge.cli.check import check
from deepmerge.cli.completion import completion
from deepmerge.cli.convert import convert
from deepmerge.cli.doctor import doctor
from deepmerge.cli.eval import eval_
from deepmerge.cli.finetune import finetune
from deepmerge.cli.inspect import inspect
from deepmerge.cli.options import DEBUG, HELP_ALL, WORDS
from deepmerge.cli.output import NEXT, SHOWN, VERSION, show_json, tinted
from deepmerge.cli.passes import passes
from deepmerge.cli.plan import plan
from deepmerge.cli.profile import profile
from deepmerge.cli.recover import recover
from deepmerge.cli.report import report
from deepmerge.cli.table import table
from deepmerge.cli.verify import verify
from deepmerge.cli.zoo import zoo
from deepmerge.errors import DeepmergeError, one_line
from deepmerge.names import for_terminal
from deepmerge.signals import received
from deepmerge.text import flat

atexit.register(gc.freeze)  # at exit, do not search for cycles

# PyPI's package `deepmerge` has no version; installed over ours, `deepmerge doctor` must still start and say so.
RELEASE = getattr(deepmerge, "__version__", "unknown")


class _Group(click.Group):
    """Turn the library's errors into one line on stderr and exit code 1."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return all parameters, `--help-all` among them."""
        return [*super().get_params(ctx), HELP_ALL]

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order of a first use, not of the alphabet."""
        return list(self.commands)

    def invoke(self, ctx: click.Context):
        """Run the command that the command line names."""
        for stream in (sys.stdout, sys.stderr):  # escape what the terminal cannot show
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")
        try:
            result = super().invoke(ctx)
            _say_next(ctx)
            return result
        except click.UsageError as error:
            _show_error(ctx, error)
            raise
        except (click.exceptions.Exit, click.Abort, click.ClickException, BrokenPipeError):
            raise  # click's own, and a reader that has closed the pipe
        except KeyboardInterrupt as error:
            _fail(ctx, error, 130)
        except Exception as error:
            if received():  # what a signal's exception has become on its way
                raise SystemExit(128 + received()) from None
            _fail(ctx, error)


def _line(error: BaseException) -> str:
    """Return what to say about an error."""
    if isinstance(error, KeyboardInterrupt):
        return str(error) or "interrupted; the output was not written"
    if isinstance(error, click.UsageError):
        return error.format_message()
    return one_line(error, "run again with --debug and report it")


def _say_next(ctx: click.Context) -> None:
    """Print the command to run next, if the command has named one."""
    if line := ctx.meta.get(NEXT):
        click.echo(f"{tinted('next:', 'green')} {for_terminal(line)}", err=True)


def _entry(error: BaseException) -> dict[str, str | None]:
    """Return the error as --json prints it. kind: the class of a DeepmergeError in lower case, such as `read`."""
    if isinstance(error, DeepmergeError):
        own = next(kind for kind in type(error).__mro__ if kind.__module__ == DeepmergeError.__module__)
        kind = "failed" if own is DeepmergeError else own.__name__.removesuffix("Error").lower()
        more = {"file": None if error.file is None else str(error.file), "layer": error.layer or None}
        return {"kind": kind, "message": error.reason, **more, "remedy": error.remedy or None}
    kinds = {KeyboardInterrupt: "interrupted", click.UsageError: "usage", MemoryError: "memory", OSError: "system"}
    kind = next((name for one, name in kinds.items() if isinstance(error, one)), "bug")
    file = error.filename if isinstance(error, OSError) else None
    more = {"file": None if file is None else str(file), "layer": None, "remedy": None}
    return {"kind": kind, "message": flat(_line(error)), **more}


def _show_error(ctx: click.Context, error: BaseException) -> None:
    """Print the error on stdout as JSON with --json, unless the result that it is about has been printed."""
    if "--json" in ctx.meta.get(WORDS, ()) and not ctx.meta.get(SHOWN):
        show_json({"version": VERSION, "error": _entry(error)})


def _fail(ctx: click.Context, error: BaseException, code: int = 1) -> None:
    if ctx.meta.get(DEBUG):
        import traceback

        traceback.print_exc()
    _show_error(ctx, error)
    click.echo(f"{tinted('deepmerge:', 'red')} {for_terminal(flat(_line(error)))}", err=True)
    _say_next(ctx)
    raise SystemExit(code)


@click.group(
    "deepmerge", cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(RELEASE, prog_name="deepmerge")
def main() -> None:
    """Make a trained Caffe network faster.

    deepmerge merges LRN, pooling, BatchNorm, Scale and small branches into convolutions, and removes Dropout.

    \b
    Examples:
      deepmerge convert net.prototxt net.caffemodel -o out/
      deepmerge convert net.prototxt net.caffemodel -o out/ --exact
      deepmerge plan net.prototxt
      deepmerge verify a.prototxt a.caffemodel b.prototxt b.caffemodel
    """


for _command in (
    convert,
    recover,
    finetune,
    plan,
    inspect,
    check,
    verify,
    eval_,
    table,
    profile,
    bench,
    report,
    zoo,
    passes,
    doctor,
    completion,
):
    main.add_command(_command)
