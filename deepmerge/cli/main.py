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
from deepmerge.cli.options import DEBUG, HELP_ALL
from deepmerge.cli.output import NEXT
from deepmerge.cli.passes import passes
from deepmerge.cli.plan import plan
from deepmerge.cli.profile import profile
from deepmerge.cli.recover import recover
from deepmerge.cli.report import report
from deepmerge.cli.table import table
from deepmerge.cli.verify import verify
from deepmerge.cli.zoo import zoo
from deepmerge.errors import one_line
from deepmerge.names import for_terminal
from deepmerge.signals import received
from deepmerge.text import flat

atexit.register(gc.freeze)  # at exit, do not search for cycles

# PyPI's package `deepmerge` has no version; installed over ours, `deepmerge doctor` must still start and say so.
VERSION = getattr(deepmerge, "__version__", "unknown")


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
        except (click.exceptions.Exit, click.Abort, click.ClickException, BrokenPipeError):
            raise  # click's own, and a reader that has closed the pipe
        except KeyboardInterrupt:
            _fail(ctx, "interrupted; nothing was written", 130)
        except Exception as error:
            if received():  # what a signal's exception has become on its way
                raise SystemExit(128 + received()) from None
            _fail(ctx, one_line(error, "run again with --debug and report it"))


def _say_next(ctx: click.Context) -> None:
    """Print the command to run next, if the command has named one."""
    if line := ctx.meta.get(NEXT):
        click.echo(f"next: {for_terminal(line)}", err=True)


def _fail(ctx: click.Context, message: str, code: int = 1) -> None:
    if ctx.meta.get(DEBUG):
        import traceback

        traceback.print_exc()
    click.echo(f"deepmerge: {for_terminal(flat(message))}", err=True)
    _say_next(ctx)
    raise SystemExit(code)


@click.group(
    "deepmerge", cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(VERSION, prog_name="deepmerge")
def main() -> None:
    """Make a trained Caffe network faster.

    deepmerge merges LRN, pooling, BatchNorm, Scale, Dropout and small branches into convolutions.

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
