"""How people say how long: 90s, 45m, 12h, 30d, 2w."""

from __future__ import annotations

import re

import click

_TEXT = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,3})?)([smhdw])\Z", re.ASCII)
_UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}


def duration_s(context: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    """Callback of an option: text -> seconds. A number without a unit is refused: days are meant as often as seconds."""
    if value is None:
        return None
    found = _TEXT.match(value)
    if found is None:
        raise click.BadParameter(
            f"{value[:40]!r} is no duration like 90s, 45m, 12h, 30d or 2w", context, parameter
        )
    return float(found[1]) * _UNITS_S[found[2]]
