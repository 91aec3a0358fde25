"""The command group, and how errors come out: one line, exit code 1 (2 for usage)."""

from __future__ import annotations

import sys

import click

from deepmerge import __version__
from deepmerge.cli.convert import convert
from deepmerge.cli.doctor import doctor
from deepmerge.cli.inspect import inspect
from deepmerge.cli.passes import passes
from deepmerge.cli.plan import plan
from deepmerge.cli.verify import verify
from deepmerge.errors import DeepmergeError


class _Group(click.Group):
    """Turns the library's errors into one line on stderr and exit code 1."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)  # in the order of a first use, not of the alphabet

    def invoke(self, ctx: click.Context):
        debug = "--debug" in sys.argv
        try:
            return super().invoke(ctx)
        except DeepmergeError as error:
            _fail(str(error), debug)
        except (click.exceptions.Exit, click.Abort, click.ClickException):
            raise
        except KeyboardInterrupt:
            _fail("interrupted; nothing was left behind", debug, 130)
        except BrokenPipeError:
            sys.stderr.close()
            raise SystemExit(1) from None
        except MemoryError:
            _fail("out of memory; the network is too large for this machine", debug)
        except Exception as error:
            _fail(f"a bug in deepmerge ({type(error).__name__}: {error}); run again with --debug and report it", debug)


def _fail(message: str, debug: bool, code: int = 1) -> None:
    if debug:
        import traceback

        traceback.print_exc()
    line = " ".join(message.split("\n"))
    click.echo(f"deepmerge: {line}", err=True)
    raise SystemExit(code)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="deepmerge")
def main() -> None:
    """Make a trained Caffe network fast: merge its LRN, pooling, BatchNorm, Scale, Dropout and small branches into
    its convolutions.

    \b
    Examples:
      deepmerge convert net.prototxt net.caffemodel -o out/
      deepmerge convert net.prototxt net.caffemodel -o out/ --exact
      deepmerge plan net.prototxt
      deepmerge verify a.prototxt a.caffemodel b.prototxt b.caffemodel
    """


for _command in (convert, plan, inspect, verify, passes, doctor):
    main.add_command(_command)
