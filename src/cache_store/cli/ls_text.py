"""The rows of `ls` for people: columns, or a tree whose leaves fit the terminal. Pure."""

from __future__ import annotations

from typing import Any

from cache_store.cli import output
from cache_store.cli.bundle_rows import View

CELL_WIDTH = 48
COLUMNS = ("STATE", "MODEL", "ENGINE", "RANKS", "ENTRIES", "COVERAGE", "SIZE", "AGE", "TUNED BY", "TOOK")
MORE_COLUMNS = ("TUNER", "VERIFIED", "EPOCH", "OBJECTS", "CREATED", "DRIVER", "IMAGE", "NOTE")
# what a leaf of the tree keeps longest, where the terminal has no room for all of it
_IMPORTANT = ("STATE", "WHY", "AGE", "SIZE", "RANKS", "COVERAGE", "TUNED BY", "ENTRIES", "ENGINE", "TOOK")
_DEPTH = 16  # cells in front of a leaf


def columns(*, is_long: bool) -> list[str]:
    return [*COLUMNS, *MORE_COLUMNS] if is_long else list(COLUMNS)


def cells(view: View, *, is_long: bool) -> dict[str, str]:
    def text(name: str) -> str:
        value = "" if view[name] is None else str(view[name])
        return value if is_long else output.shortened(value, CELL_WIDTH)

    values = [
        f"{text('state')} ({view['problem']})" if view["problem"] else text("state"),
        text("model"),
        text("engine"),
        text("ranks"),
        text("entries"),
        text("completeness"),
        output.for_people_bytes(view["size_bytes"]),
        output.for_people_seconds(view["age_s"]),
        text("tuned_by"),
        output.for_people_seconds(view["tune_s"]),
    ]
    if is_long:
        values += [*map(text, ("tuner", "verified", "epoch", "objects"))]
        values += [output.for_people_time(text("created_at")), text("driver"), text("image")]
        values += [view["reason"] or view["detail"] or ""]
    return dict(zip(columns(is_long=is_long), values, strict=True))


def branches(views: list[View], *, width: int | None) -> dict[str, Any]:
    """FlashInfer version and arch -> key and model -> environment -> the rest in one line.

    `width`: of the terminal; None shortens nothing and leaves nothing out.
    """
    tree: dict[str, Any] = {}
    for view in views:
        told = cells(view, is_long=width is None)
        model = told.pop("MODEL")
        releases = tree.setdefault(f"{view['flashinfer_version']}/{view['arch']}", {})
        models = releases.setdefault(f"{view['key']}  {model}".rstrip(" -"), {})
        if width is not None and (why := view["reason"] or view["detail"]):
            told["WHY"] = output.shortened(str(why), CELL_WIDTH)
        models[view["environment"]] = _leaf(told, width)
    return tree


def _leaf(told: dict[str, str], width: int | None) -> str:
    """What there is, without the least important of it that has no room."""
    there = {name: f"{name.lower()} {cell}" for name, cell in told.items() if cell not in {"", "-"}}
    names = list(there)
    if width is not None:
        kept: list[str] = []
        room = width - _DEPTH
        for name in sorted(names, key=_IMPORTANT.index):
            room -= output.cell_width(output.escape(there[name])) + 2
            if room < -2 and kept:
                break
            kept.append(name)
        names = [name for name in names if name in kept]
    return "  ".join(there[name] for name in names)
