"""The question before something is changed."""

from __future__ import annotations

import click

from cache_store.cli.session import Problem
from cache_store.exit_codes import ExitCode


def agree(question: str) -> None:
    """Returns where a person says yes. Raises `Problem` for a no, and `click.Abort` for Ctrl-C."""
    if not click.confirm(question, err=True):
        raise Problem("declined", "nothing was done", ExitCode.REFUSED)
