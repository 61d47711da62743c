"""How far long work is, for a person who waits: on a terminal's stderr, and nowhere else."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress(title: str, total: int | None) -> Iterator[Callable[[], None]]:
    """What to call after each of `total` steps; None: nobody knows how many. Nothing of it stays on the screen."""
    if not sys.stderr.isatty() or total == 0:
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    named = TextColumn(title, markup=False)
    columns = (
        (named, TextColumn("{task.completed:.0f} so far"))
        if total is None
        else (named, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    )
    # lines of the answer go above the bar where both are on one terminal, and are not touched where they are not
    shown = Progress(
        *columns,
        console=Console(file=sys.stderr, soft_wrap=True),
        transient=True,
        redirect_stdout=sys.stdout.isatty(),
        redirect_stderr=True,
    )
    with shown:
        task = shown.add_task(title, total=total)
        yield lambda: shown.advance(task)
