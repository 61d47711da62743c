"""The fleet page as one HTML file: nothing in it is loaded from elsewhere, and its Content-Security-Policy allows nothing else.

What comes from a bucket reaches the page in two ways: escaped by Jinja, and as JSON in a block that no browser runs, from
which the page's own code makes text nodes. Nothing of it is ever markup, style or code.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from importlib.resources import files

from cache_store.cli.output import for_people_bytes, for_people_seconds
from cache_store.dataclass import dataclass
from cache_store.fleet_page import FleetPage, Workload, heat_map, timeline
from cache_store.page_charts import bars

SHOWN_TROUBLES = 50
# what would end the block that holds the data, or be a line's end to an old parser
_UNSAFE = {character: f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}


@dataclass(frozen=True)
class Tile:
    name: str
    value: str
    more: str


def render(page: FleetPage) -> str:
    """The whole file. Needs jinja2 (the extra `cli`)."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    folder = files("cache_store.cli") / "page"
    css, js = ((folder / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string((folder / "page.html.j2").read_text(encoding="utf-8"))
    found, periods = heat_map(page.workloads), timeline(page.workloads)
    cells = {
        model: {gpu: found.cells.get(model, {}).get(gpu) for gpu in found.gpus} for model in found.models
    }
    # ours or escaped by what made it: the files beside this one, a drawing without names, JSON without markup
    made = {"css": css, "js": js, "timeline": bars(periods), "data": as_data(page.workloads)}
    return template.render(
        page=page,
        tiles=list(_tiles(page)),
        troubles=page.troubles[:SHOWN_TROUBLES],
        more_troubles=max(0, len(page.troubles) - SHOWN_TROUBLES),
        map={"models": found.models, "gpus": found.gpus, "cells": cells, "left_out": found.left_out},
        periods=periods,
        css_hash=_hash(css),
        js_hash=_hash(js),
        **{name: Markup(text) for name, text in made.items()},  # noqa: S704 -- see above
    )


def as_data(workloads: Iterable[Workload]) -> str:
    """The rows for page.js, each text once: a fleet's identities differ in few of their words."""
    texts: dict[str, int] = {}

    def at(text: str) -> int:
        return texts.setdefault(text, len(texts))

    rows = [
        [
            *map(at, (one.address, one.state, one.standing, one.model, one.gpu, one.flashinfer_version)),
            at(one.engine),
            at(one.made_by),
            None if one.at is None else int(one.at.timestamp()),
            one.size_bytes,
            one.ranks,
            one.entries,
            one.tune_s,
            at(one.note),
            [at(word) for fact in one.facts for word in fact],
        ]
        for one in workloads
    ]
    document = json.dumps({"texts": list(texts), "rows": rows}, separators=(",", ":"), allow_nan=False)
    return "".join(_UNSAFE.get(character, character) for character in document)


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _tiles(page: FleetPage) -> Iterable[Tile]:
    counts: Mapping[str, int] = page.counts
    others = ", ".join(f"{count} {state}" for state, count in counts.items() if state != "published")
    yield Tile("Published bundles", str(counts.get("published", 0)), others or "nothing else")
    yield Tile(
        "Stored",
        for_people_bytes(page.size_bytes),
        f"{page.objects} objects" + (f", {page.foreign} foreign" if page.foreign else ""),
    )
    yield Tile("Tuning kept", for_people_seconds(page.tune_s), "what the published tunes took")
    starts = page.starts
    if starts.records:
        yield Tile(
            "Tuning spared", for_people_seconds(starts.saved_s), f"in {starts.records} recorded starts"
        )
        warm = sum(count for name, count in starts.outcomes if name in {"hit", "local", "waited", "tuned"})
        yield Tile("Warm starts", f"{100 * warm / starts.records:.1f} %", f"{warm} of {starts.records}")
    yield Tile("Needs attention", str(len(page.troubles)), "see below" if page.troubles else "all is well")
