"""The variables of this process, for the clients: obstore and botocore read them beside what they are handed."""

from __future__ import annotations

import os
from collections.abc import Mapping


def lend(wanted: Mapping[str, str]) -> None:
    """`wanted` as the variables of this process, from here on.

    Call it while no thread of a client runs: changing the environment below one is undefined in C.
    """
    _change(_towards(wanted))


def lent(wanted: Mapping[str, str]) -> lent_change:
    """As `lend`, while a client is made; then the variables are as they were."""
    return lent_change(_towards(wanted))


class lent_change:  # noqa: N801 -- used as `with lent_change(...)`; contextlib is 0.7 ms of a hit
    """As `lent`, for some variables; None takes one away."""

    def __init__(self, changed: Mapping[str, str | None]) -> None:
        self._changed = changed
        self._before: Mapping[str, str | None] = {}

    def __enter__(self) -> None:
        process = os.environ  # noqa: TID251 -- what the clients read cannot be passed in
        self._before = {name: process.get(name) for name in self._changed}
        _change(self._changed)

    def __exit__(self, *_: object) -> None:
        _change(self._before)


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
