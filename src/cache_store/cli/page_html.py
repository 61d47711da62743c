"""The fleet page as one HTML file: nothing in it is loaded from elsewhere, and its Content-Security-Policy allows nothing else.

What comes from a bucket reaches the page in two ways: escaped by Jinja, and as JSON in a block that no browser runs, from
which the page's own code makes text nodes. Nothing of it is ever markup, style or code.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Iterable
from importlib.resources import files

from cache_store.cli.output import for_people_bytes, for_people_seconds
from cache_store.cli.page_data import as_data
from cache_store.cli.page_text import minute_of
from cache_store.dataclass import dataclass
from cache_store.fleet_map import heat_map
from cache_store.fleet_page import FleetPage
from cache_store.fleet_timeline import ENDINGS, over_time, timeline
from cache_store.known_bad_words import words_for
from cache_store.page_charts import bars

SHOWN_TROUBLES = 50
SHOWN_NAMES = 20
# where no JavaScript runs there is a plain table, of the first so many
SHOWN_ROWS = 2000
STYLES = ("page.css", "table.css", "print.css")
SCRIPTS = ("rows.js", "table.js", "dialog.js", "start.js")


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
    css = "".join((folder / name).read_text(encoding="utf-8") for name in STYLES)
    js = "".join((folder / name).read_text(encoding="utf-8") for name in SCRIPTS)
    js = f'"use strict";\n(() => {{\n{js}}})();'
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        minute=minute_of, short_gpu=short_gpu, cut=cut, bytes=for_people_bytes, known_bad=words_for
    )
    template = environment.from_string((folder / "page.html.j2").read_text(encoding="utf-8"))
    found, history = heat_map(page.workloads), timeline(page.workloads)
    by_day = over_time(page.starts.days, ENDINGS)
    left_out = Counter(one.kind for one in page.troubles[SHOWN_TROUBLES:])
    newest = sorted(page.workloads, key=lambda one: (minute_of(one.at), one.address), reverse=True)
    # ours or escaped by what made it: the files beside this one, drawings without names, JSON without markup
    made = {
        "css": css,
        "js": js,
        "drawn_history": bars(
            history, f"Bundles tuned and taken out: {history.total}; the table below has the numbers"
        ),
        "drawn_starts": bars(by_day, f"Pods' starts: {by_day.total}; the table below has the numbers"),
        "data": as_data(page, found),
    }
    return template.render(
        page=page,
        tiles=list(_tiles(page)),
        troubles=page.troubles[:SHOWN_TROUBLES],
        left_out=left_out,
        by_address={one.address: one for one in page.workloads},
        map=found,
        history=history,
        by_day=by_day,
        outcomes=page.starts.outcomes[:SHOWN_NAMES],
        reasons=page.starts.reasons[:SHOWN_NAMES],
        more_reasons=max(0, len(page.starts.reasons) - SHOWN_NAMES),
        more_outcomes=max(0, len(page.starts.outcomes) - SHOWN_NAMES),
        rows=newest[:SHOWN_ROWS],
        more_rows=max(0, len(newest) - SHOWN_ROWS),
        css_hash=_hash(css),
        js_hash=_hash(js),
        **{name: Markup(text) for name, text in made.items()},  # noqa: S704 -- see above
    )


def short_gpu(name: str) -> str:
    """Every GPU here is NVIDIA's: a narrow column need not say so."""
    return name.removeprefix("NVIDIA ") or name


def cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}\u2026"


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _tiles(page: FleetPage) -> Iterable[Tile]:
    states = page.states
    others = ", ".join(f"{count} {state}" for state, count in states.items() if state != "published")
    yield Tile("Published bundles", f"{states.get('published', 0):,}", others or "and nothing else")
    objects = f"{page.objects:,} object{'' if page.objects == 1 else 's'}"
    yield Tile(
        "Stored",
        for_people_bytes(page.size_bytes),
        objects + (f", and {page.foreign:,} that are not ours" if page.foreign else ""),
    )
    yield Tile("Tuning kept", _hours(page.tune_s), "is what the published tunes took")
    starts = page.starts
    if starts.records:
        count = f"{starts.records:,} recorded start{'' if starts.records == 1 else 's'}"
        since = f" since {starts.first:%Y-%m-%d}" if starts.first else ""
        yield Tile("Tuning saved", _hours(starts.saved_s), f"in {count}{since}")
        yield Tile(
            "Warm starts",
            f"{100 * starts.warm / starts.records:.1f} %",
            f"{starts.warm:,} of {starts.records:,}",
        )
    attention = page.needs_attention
    well = "all is well" if page.workloads else "nothing is here yet"
    yield Tile("Needs attention", f"{attention:,}", "see below" if attention else well)


def _hours(seconds: float) -> str:
    """Hours, whatever they are: a fleet's sums are compared from month to month."""
    return f"{seconds / 3600:,.1f} h" if seconds >= 360 else for_people_seconds(seconds)
