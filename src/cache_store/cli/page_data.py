"""The fleet's rows as JSON inside the page, for the page's own code. Pure."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence

from cache_store.cli.output import for_people_bytes, for_people_seconds
from cache_store.cli.page_text import minute_of
from cache_store.fleet_map import HeatMap
from cache_store.fleet_page import OTHERS, STATES, FleetPage, Workload

# what would end the block that holds the data, or be a line's end to an old parser
_UNSAFE = str.maketrans({character: f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"})
# 10,000 bundles need 5 million; beyond, rows are shown without their facts, so that the page opens whatever a bucket says
MAX_CHARACTERS = 12_000_000
_NUMBER_LENGTH = 7
# JavaScript counts exactly up to 2**53
_MOST = 2**53
# what a person may want to do next, with the address between: addresses need no quotes
_COMMANDS = {
    "show": ("show", ""),
    "unlock": ("unlock", " --reason WHY"),
    "restore": ("restore", " --reason WHY"),
    "release": ("restore", " --even-quarantined --reason WHY"),
    "verify": ("verify", ""),
}


class _Texts:
    """Each text once: a fleet's identities differ in few of their words."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        self.characters = 0

    def at(self, text: str) -> int:
        number = self.numbers.get(text)
        if number is None:
            number = self.numbers[text] = len(self.numbers)
            self.characters += len(text)
        return number


def as_data(page: FleetPage, found: HeatMap) -> str:
    """All of the JSON, escaped for its place. The order of a row's parts is that of rows.js."""
    texts = _Texts()
    store = page.store.rstrip("/")
    quoted = shlex.quote(page.store)
    document = {
        "rows": [_row(one, texts) for one in page.workloads],
        "map": {
            "models": [texts.at(name) for name in found.models],
            "gpus": [texts.at(name) for name in found.gpus if name != OTHERS],
        },
        "states": STATES,
        "others": OTHERS,
        "store": f"{store}/",
        "commands": {
            name: [f"cache-store {verb} --store {quoted} ", more] for name, (verb, more) in _COMMANDS.items()
        },
        "texts": list(texts.numbers),
    }
    return json.dumps(document, separators=(",", ":"), allow_nan=False).translate(_UNSAFE)


def _row(one: Workload, texts: _Texts) -> list[object]:
    at = texts.at
    row: list[object] = [
        *map(
            at, (one.address, one.state, one.claim, one.coverage, one.model, one.gpu, one.flashinfer_version)
        ),
        *map(at, (one.engine, one.made_by, minute_of(one.at), one.note)),
        # as numbers to sort by, and as texts, so that no second program rounds them its own way
        min(one.size_bytes, _MOST),
        at(for_people_bytes(min(one.size_bytes, _MOST))),
        round(one.tune_s),
        at(for_people_seconds(one.tune_s) if one.tune_s else ""),
        min(one.entries, _MOST),
        -1 if one.percent is None else one.percent,
    ]
    facts: Sequence[tuple[str, str, str]] = one.facts
    if texts.characters > MAX_CHARACTERS and facts:
        facts = (("Not shown", "why", "this page has no room for more: cache-store show has all"),)
    told = [number for section, name, value in facts for number in (at(f"{section}\n{name}"), at(value))]
    texts.characters += _NUMBER_LENGTH * len(told)
    return [*row, told]
