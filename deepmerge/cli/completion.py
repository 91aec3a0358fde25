"""deepmerge completion."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from deepmerge.cli.options import command, common
from deepmerge.cli.output import Console


@command(short_help="print the script for shell completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@common
def completion(shell: str, console: Console):
    """Print the script that completes deepmerge's commands, options and files in a shell.

    To install it, add the line for your shell to its startup file:

    \b
      bash   ~/.bashrc                      eval "$(deepmerge completion bash)"
      zsh    ~/.zshrc                       eval "$(deepmerge completion zsh)"
      fish   ~/.config/fish/config.fish     deepmerge completion fish | source

    \b
    Examples:
      deepmerge completion bash > ~/.local/share/bash-completion/completions/deepmerge
    """
    group = click.get_current_context().find_root().command
    script = get_completion_class(shell)(group, {}, "deepmerge", "_DEEPMERGE_COMPLETE").source()
    console = Console(console.as_json)  # -q prints it too: the script is all that the command is for
    console.show({"shell": shell, "script": script}, lambda: script)
