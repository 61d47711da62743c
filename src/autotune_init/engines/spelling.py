"""From what a container runs to the words that the engine's own parser gets: program, shell, --config file. Pure.

`read_text` is the one thing that touches the world: it gives the text of the --config file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from autotune_init.engines.command_line import CommandLine, Unreadable, read_command
from autotune_init.engines.sglang import Refused
from autotune_init.engines.sglang_config_file import config_path, merge
from autotune_init.engines.sglang_serve import PROGRAM, parsers_argv
from autotune_init.engines.sglang_versions import BY_VERSION
from cache_store.dataclass import replace

TextReader = Callable[[str], str]


def read_words(
    words: Sequence[str],
    environ: Mapping[str, str],
    engine: str | None,
    version: str | None,
    read_text: TextReader,
) -> CommandLine:
    """The engine's command line with nothing left to expand. Raises `Refused`: key-argv, key-config-file, undecidable.

    Without words it is an engine without a command line, whose fields are all stated. A `version` that is in no table
    leaves `sglang serve` and --config as they are: then only the engine itself can say.
    """
    if not words and engine is not None:
        return CommandLine(engine, "", (), dict(environ))
    try:
        command = read_command(words, environ, engine)
    except Unreadable as unreadable:
        raise Refused("key-argv", f"{unreadable.reason}: {unreadable.detail}") from None
    if command.engine != "sglang" or version not in BY_VERSION:
        return command
    argv = command.argv
    if command.program == PROGRAM:
        argv = parsers_argv(argv, version or "")
    path = config_path(argv)
    if path is not None:
        try:
            argv = merge(argv, read_text(path), version or "")
        except (OSError, ValueError) as error:
            raise Refused("key-config-file", f"--config {path[:200]}: {error}"[:400]) from None
    return replace(command, argv=argv)
