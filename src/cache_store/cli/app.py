"""The program: global options, the commands, and the one place where whatever was raised becomes an exit code."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import click

from cache_store import __version__
from cache_store.chance import FreshChance
from cache_store.cli.help_text import COMPLETION_VARIABLE, PROGRAM, epilog
from cache_store.cli.output import tell_error, tell_usage
from cache_store.cli.session import Problem, Session, problem_of, store_options
from cache_store.clock import Cancelled, SystemClock, fresh_nonce
from cache_store.errors import StoreError
from cache_store.exit_codes import ExitCode
from cache_store.objects.open_url import open_store

# in the order of the help, which each module has one of; `import` is no name that a module can have
COMMANDS = (
    "ls", "show", "diff", "verify", "claims", "stats", "report", "doctor", "retire", "quarantine", "restore", "unlock", "gc",
    "export", "import", "cp", "pull", "completion",
)  # fmt: skip


class Program(click.Group):
    """A group whose `main` returns the exit code and never raises or exits, so that `__main__` alone does.

    A command's module is imported when that command is asked for: with all of them a start takes 0.31 s, with `ls` 0.07.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 -- as click calls it
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 -- as above
        if cmd_name not in COMMANDS:
            return None
        name = "import_" if cmd_name == "import" else cmd_name
        command: click.Command = getattr(importlib.import_module(f"cache_store.cli.{name}"), name)
        return command

    def main(  # type: ignore[override]  # click's returns Any or exits; this one returns the number
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> int:
        arguments = list(args or ())
        is_json = "--json" in arguments
        extra.pop("standalone_mode", None)
        session = extra.get("obj")
        try:
            if isinstance(session, Session) and (asked := session.environ.get(COMPLETION_VARIABLE)):
                from cache_store.cli.completion import complete

                return complete(self, session, asked)
            with self.make_context(prog_name or PROGRAM, arguments, **extra) as context:
                code = self.invoke(context)
            return int(code or ExitCode.OK)
        except click.exceptions.Exit as leaving:
            return leaving.exit_code
        except click.UsageError as error:
            if error.ctx is not None and not is_json:
                tell_usage(error.ctx.get_usage())
            return _failed("usage", error.format_message(), ExitCode.USAGE, is_json=is_json)
        except Problem as problem:
            return _failed(problem.kind, str(problem), problem.exit_code, is_json=is_json)
        except StoreError as error:
            told = problem_of(error)
            return _failed(told.kind, str(told), told.exit_code, is_json=is_json)
        except (KeyboardInterrupt, Cancelled, click.Abort):
            return _failed("interrupted", "interrupted", ExitCode.INTERRUPTED, is_json=is_json)
        except OSError as error:  # the adapters let none through: this is stdout
            message = f"the answer could not be written: {error.strerror or error}"
            return _failed("output", message, ExitCode.OUTPUT, is_json=is_json)
        except Exception as error:  # noqa: BLE001 -- the one place: a bug of ours is an exit code too
            message = f"{type(error).__name__}: {error}"
            return _failed("internal", f"please report this: {message}", ExitCode.INTERNAL, is_json=is_json)


def _failed(kind: str, message: str, exit_code: ExitCode, *, is_json: bool) -> int:
    tell_error(kind, message, exit_code, is_json=is_json)
    return exit_code


@click.group(
    cls=Program,
    no_args_is_help=False,  # 0 in click 8.1 and 2 in 8.2; a missing command is wrong usage in both
    epilog=epilog(*ExitCode),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(__version__, prog_name=PROGRAM, message="%(prog)s %(version)s")
@store_options
def cli() -> None:
    """Look at a store of tuned kernels: what is in it, whether it is sound, who tunes, and what the store can do.

    And take bundles out of service, put them back, end claims, and carry bundles from one store to another.

    Options may stand before or after the command. stdout is the answer, stderr the story, the exit status the verdict.
    """


def run(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Arguments and environment in, exit code out. Raises nothing."""
    session = Session(
        environ=environ,
        clock=SystemClock(),
        rng=FreshChance(),
        nonce=fresh_nonce,
        opener=open_store,
    )
    return cli.main(list(argv), PROGRAM, obj=session)
