"""`cache-store completion`: what a shell needs to complete commands and options; click's own scripts."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class, shell_complete

from cache_store.cli import output
from cache_store.cli.help_text import COMPLETION_VARIABLE, PROGRAM, epilog
from cache_store.cli.session import Problem, Session, json_option
from cache_store.exit_codes import ExitCode

SCHEMA = "autotune-cache/completion/v1"
SHELLS = ("bash", "zsh", "fish")

_EXAMPLES = """
completion bash > ~/.local/share/bash-completion/completions/cache-store
completion zsh > ~/.zfunc/_cache-store
completion fish > ~/.config/fish/completions/cache-store.fish
"""


@click.command(
    short_help="Print a shell's completion script.",
    epilog=epilog(
        ExitCode.OK,
        ExitCode.INTERNAL,
        ExitCode.USAGE,
        ExitCode.OUTPUT,
        ExitCode.INTERRUPTED,
        examples=_EXAMPLES,
    ),
)
@click.argument("shell", type=click.Choice(SHELLS))
@json_option
@click.pass_obj
def completion(session: Session, shell: str) -> int:
    """Print the script that makes a shell complete this program's commands and options. No store is asked."""
    kind = get_completion_class(shell)
    group = click.get_current_context().find_root().command
    if kind is None:
        raise Problem("usage", f"click knows no completion for {shell}", ExitCode.USAGE)
    script = kind(group, {}, PROGRAM, COMPLETION_VARIABLE).source()
    if session.is_json:
        output.emit_json({"schema": SCHEMA, "shell": shell, "script": script})
    else:
        output.emit_bytes(script.encode())
    return ExitCode.OK


def complete(group: click.Command, session: Session, instruction: str) -> int:
    """Answers the shell whose script asks, through click: words in COMP_*, candidates on stdout."""
    return shell_complete(group, {"obj": session}, PROGRAM, COMPLETION_VARIABLE, instruction)
