"""The variables of this process, for the clients: obstore and botocore read them beside what they are handed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


def lend(wanted: Mapping[str, str]) -> None:
    """`wanted` as the variables of this process, from here on.

    Call it while no thread of a client runs: changing the environment below one is undefined in C.
    """
    _change(_towards(wanted))


@contextmanager
def lent(wanted: Mapping[str, str]) -> Iterator[None]:
    """As `lend`, while a client is made; then the variables are as they were."""
    with lent_change(_towards(wanted)):
        yield


@contextmanager
def lent_change(changed: Mapping[str, str | None]) -> Iterator[None]:
    """As `lent`, for some variables; None takes one away."""
    before = {name: os.environ.get(name) for name in changed}  # noqa: TID251 -- what the clients read cannot be passed in
    _change(changed)
    try:
        yield
    finally:
        _change(before)


def _towards(wanted: Mapping[str, str]) -> dict[str, str | None]:
    there = os.environ  # noqa: TID251 -- as above
    return {name: wanted.get(name) for name in there.keys() | wanted.keys()}


def _change(changed: Mapping[str, str | None]) -> None:
    process = os.environ  # noqa: TID251 -- as above
    for name, value in changed.items():
        if value is None:
            process.pop(name, None)
        else:
            process[name] = value
