"""What a bucket says is text and nothing else, however hostile; and one bundle cannot push the others off the page."""

from dataclasses import replace

import pytest
from tests import bundles
from tests.cli.conftest import Shop
from tests.report_page.reading import column

from cache_store.use_record import UseRecord, record_key

HOSTILE = [
    "</script><script>window.hacked = 1; alert(1)</script>",
    "<img src=x onerror='window.hacked = 2'>",
    "\"'><svg onload=alert(3)>",
    "{{ 7 * 7 }}${window.hacked = 4}",
    "gpt\u202egnp.exe",
    "a\x00b\x1b[31m",
    "m" * 4096,
    "\u115f\u3164\u2800",
    "e" + "\u0300" * 200,
    "__proto__",
]


@pytest.mark.parametrize("width", [1240, 390])
def test_given_hostile_names_then_they_are_only_text(opened, tmp_path, width):
    shop = Shop()
    for number, text in enumerate(HOSTILE):
        metadata = {**bundles.H100, "gpu": f"{text} GPU"}
        who = replace(
            bundles.identity(metadata, key=f"{number:016x}"),
            key_inputs={"model_path": text, text: text},
            key_text=text,
        )
        shop.publish(bundles.bundle(who=who, holder=text, driver=text))
        shop.claim(
            who=bundles.identity(key=f"{100 + number:016x}"),
            state="failed",
            error=text,
            tail=(text,),
            holder=text,
        )
        shop.put(
            bundles.identity(key=f"{200 + number:016x}").address.bundle_key,
            replace(
                bundles.tombstone(may_retune=False, reason=text), retired_by=text, retired_copy=text
            ).encode(),
        )
        record = UseRecord(at="2026-11-22T12:00:00Z", outcome=text[:200], reason=f"known-bad-{text}"[:200])
        shop.put(record_key(shop.clock.now(), f"r{number}"), record.encode())
    page_file = tmp_path / "fleet.html"
    assert shop("report", "--html", page_file).code == 0

    page = opened(page_file)
    page.set_viewport_size({"width": width, "height": 900})
    for number in range(3 * len(HOSTILE)):
        page.locator("#table .open").nth(number).click()
        page.keyboard.press("Escape")
    page.locator("details").evaluate_all("all => all.forEach(one => { one.open = true; })")

    assert page.evaluate("typeof window.hacked") == "undefined"
    assert page.locator("img, iframe, object, link").count() == 0
    assert page.locator("script").count() == 2
    assert HOSTILE[0] in column(page, 1)
    assert "{{ 7 * 7 }}${window.hacked = 4}" in column(page, 1)
    assert not any("\u202e" in one for one in column(page, 1))
    assert all(one.strip() for one in column(page, 1)), "nothing is invisible"
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "nothing is pushed off the page"


def test_given_a_bundle_of_endless_facts_then_its_dialog_opens(opened, tmp_path):
    shop = Shop()
    who = bundles.identity()
    shop.publish(
        who=replace(who, key_inputs={**who.key_inputs, **{f"k{n}": "v" * 2000 for n in range(10_000)}})
    )
    assert shop("report", "--html", tmp_path / "fleet.html").code == 0
    page = opened(tmp_path / "fleet.html")

    page.locator("#table .open").click(timeout=2000)

    assert page.locator("#one dd").count() < 250
    assert "9,964 more: cache-store show has all" in page.locator("#one").inner_text()
