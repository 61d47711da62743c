"""How far long work is, for a person who waits: on a terminal's stderr, and nowhere else."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress(title: str, total: int) -> Iterator[Callable[[], None]]:
    """What to call after each of `total` steps. Nothing of it stays on the screen."""
    if not sys.stderr.isatty() or not total:
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(title, markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # lines of the answer go above the bar where both are on one terminal, and are not touched where they are not
    is_shared = sys.stdout.isatty()
    shown = Progress(
        *columns,
        console=Console(file=sys.stderr, soft_wrap=True),
        transient=True,
        redirect_stdout=is_shared,
        redirect_stderr=False,
    )
    with shown:
        task = shown.add_task(title, total=total)
        yield lambda: shown.advance(task)
