"""The FILE that a command writes: whether it can be one, asked before anything is read, and what a failed write means."""

from __future__ import annotations

from pathlib import Path

from cache_store.cli.session import Problem
from cache_store.exit_codes import ExitCode


def target_file(file: str) -> Path:
    """Raises `Problem` (usage) for what no file can be written to."""
    path = Path(file)
    try:
        if not file or path.is_dir():
            raise Problem("usage", f"{file or 'an empty FILE'} is no file to write to", ExitCode.USAGE)
        if path.exists() and not path.is_file():
            raise Problem("usage", f"{file} is there, and no regular file", ExitCode.USAGE)
        if not path.resolve().parent.is_dir():
            raise Problem("usage", f"{file}: there is no such directory", ExitCode.USAGE)
    except (
        OSError,
        ValueError,
        RuntimeError,
    ) as error:  # a link to itself is a RuntimeError before Python 3.13
        raise Problem(
            "usage", f"{file}: {getattr(error, 'strerror', None) or error}", ExitCode.USAGE
        ) from error
    return path


def unwritten(file: str, error: OSError) -> Problem:
    """A full disk, no right to write."""
    return Problem("output", f"{file} could not be written: {error.strerror or error}", ExitCode.OUTPUT)
