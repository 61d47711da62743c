"""The fleet page in Chromium: it finds, filters, sorts and shows, by mouse and by keyboard, in both faces, and asks nobody."""

import json
import re
import time
from dataclasses import replace
from pathlib import Path

import axe_playwright_python
import pytest
from tests import bundles
from tests.cli.conftest import Shop

AXE = Path(axe_playwright_python.__file__).parent / "axe.min.js"
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}


def found(page):
    """(found, all) as the page says."""
    return tuple(map(int, page.locator("#found").inner_text().split(" of ")))


def wait_found(page, is_so):
    limit = time.monotonic() + 5
    while not is_so(found(page)[0]):
        assert time.monotonic() < limit, found(page)
        page.wait_for_timeout(20)


def column(page, number):
    return page.locator(f"#table tbody tr > :nth-child({number})").all_inner_texts()


def test_the_search_finds_by_any_word(opened, fleet):
    page = opened(fleet)
    whole = found(page)[0]

    page.fill("#q", "deepseek b200")
    wait_found(page, lambda count: count < whole)

    models, gpus = column(page, 1), column(page, 2)
    assert models
    assert all("deepseek" in one.lower() for one in models)
    assert set(gpus) == {"NVIDIA B200"}


def test_what_nobody_has_is_not_found_and_clear_brings_all_back(opened, fleet):
    page = opened(fleet)
    whole = found(page)[0]

    page.fill("#q", "no such model")
    wait_found(page, lambda count: count == 0)
    assert page.locator("#where").inner_text() == "nothing fits"
    page.get_by_role("button", name="Clear").click()

    wait_found(page, lambda count: count == whole)


@pytest.mark.parametrize(
    ("control", "value", "at"),
    [("#f-state", "quarantined", 4), ("#f-gpu", "NVIDIA H200", 2), ("#f-version", "0.7.1", 3)],
)
def test_filters(opened, fleet, control, value, at):
    page = opened(fleet)

    page.select_option(control, value)

    assert set(column(page, at)) == {value}
    assert 0 < found(page)[0] < found(page)[1]


def test_columns_sort_both_ways_and_say_so(opened, fleet):
    page = opened(fleet)
    header = page.locator("#table thead th", has_text="Entries")

    page.get_by_role("button", name="Entries").click()
    falling = [int(one) for one in column(page, 10) if one != "-"]
    assert header.get_attribute("aria-sort") == "descending"
    page.get_by_role("button", name="Entries").click()

    assert header.get_attribute("aria-sort") == "ascending"
    assert falling == sorted(falling, reverse=True)
    assert page.evaluate("document.activeElement.dataset.sort") == "entries"


def test_pages_of_the_table(opened, fleet):
    page = opened(fleet)
    first = column(page, 8)

    page.get_by_role("button", name="Next").click()

    assert page.locator("#where").inner_text() == "101 to 200"
    assert column(page, 8) != first
    assert page.get_by_role("button", name="Previous").is_enabled()


def test_a_workload_shows_its_identity_on_click(opened, fleet):
    page = opened(fleet)
    page.select_option("#f-state", "published")
    model = column(page, 1)[0]

    page.locator("#table .open").first.click()

    dialog = page.get_by_role("dialog")
    assert dialog.get_by_role("heading", level=2).inner_text().startswith(model[:20])
    terms = dialog.locator("dt").all_inner_texts()
    assert {"model_path", "quantization", "gpu", "cublas_version", "tuned in", "completeness"} <= set(terms)
    dialog.get_by_role("button", name="Close").click()
    assert page.get_by_role("dialog").count() == 0


def test_the_heat_map_leads_to_its_rows(opened, fleet):
    page = opened(fleet)
    cell = page.locator(".pick").first
    model, gpu = cell.get_attribute("data-model"), cell.get_attribute("data-gpu")
    published = int(cell.inner_text().split()[0])

    cell.click()

    assert set(column(page, 1)) == {model}
    assert set(column(page, 2)) == {gpu}
    assert column(page, 4).count("published") == published
    assert page.evaluate("document.activeElement.id") == "inventory"


def test_by_keyboard_alone(opened, fleet):
    page = opened(fleet)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "inventory"

    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "q"
    page.keyboard.type("qwen3")
    wait_found(page, lambda count: count < found(page)[1])
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.className") == "open":
            break
    page.keyboard.press("Enter")
    assert page.get_by_role("dialog").is_visible()
    page.keyboard.press("Escape")

    assert page.get_by_role("dialog").count() == 0
    assert page.evaluate("document.activeElement.className") == "open", "where it was opened"


def test_given_filters_when_the_link_skips_to_the_inventory_then_they_stay(opened, fleet):
    page = opened(fleet)
    page.fill("#q", "h100")
    wait_found(page, lambda count: count < found(page)[1])
    asked, count = page.url, found(page)[0]
    page.evaluate("addEventListener('hashchange', () => { window.hasSkipped = true; })")

    page.locator("a.skip").press("Enter")
    page.wait_for_function("window.hasSkipped")

    assert (page.input_value("#q"), found(page)[0]) == ("h100", count)
    assert page.url == asked
    assert page.evaluate("document.activeElement.id") == "inventory"


def test_the_address_keeps_what_was_asked(opened, fleet):
    page = opened(fleet)
    page.fill("#q", "h100")
    page.select_option("#f-version", "0.7.2")
    page.get_by_role("button", name="Size").click()
    wait_found(page, lambda count: count < found(page)[1])
    fragment = "#" + page.url.partition("#")[2]

    again = opened(fleet, fragment=fragment)

    assert (again.input_value("#q"), again.input_value("#f-version")) == ("h100", "0.7.2")
    assert found(again) == found(page)
    assert column(again, 11) == column(page, 11)


@pytest.mark.parametrize("fragment", ["#sort=__proto__&state=%00", "#q=%E0%A4%A", "#version=nope&gpu=x"])
def test_given_an_address_of_nonsense_then_the_page_still_opens(opened, fleet, fragment):
    page = opened(fleet, fragment=fragment)

    assert page.locator("#table thead th").count() == 11


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(opened, fleet, scheme):
    page = opened(fleet, color_scheme=scheme, bypass_csp=True)
    page.add_script_tag(path=AXE)
    for what in ("page", "dialog"):
        if what == "dialog":
            page.locator("#table .open").first.click()
        violations = page.evaluate("rules => axe.run(document, rules)", RULES)["violations"]
        assert [(one["id"], one["nodes"][0]["html"][:200]) for one in violations] == []


def test_the_theme_can_be_chosen(opened, fleet):
    page = opened(fleet, color_scheme="light")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)

    page.get_by_role("button", name="Dark").click()

    assert page.evaluate(ground) != light
    assert page.get_by_role("button", name="Light").is_visible()


def test_on_paper_there_are_no_controls(opened, fleet):
    page = opened(fleet, color_scheme="dark")
    page.emulate_media(media="print")

    assert not page.locator("#filters").is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator("#table tbody tr").count() == 100
    assert page.locator(".map").is_visible()


def test_the_policy_forbids_everything_else(opened, fleet):
    page = opened(fleet)

    policy = page.locator("meta[http-equiv]").get_attribute("content")
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert not re.search(
        r"https?:", re.sub(r"<script type=.*?</script>", "", fleet.read_text(), flags=re.DOTALL)
    )


HOSTILE = [
    "</script><script>window.hacked = 1; alert(1)</script>",
    "<img src=x onerror='window.hacked = 2'>",
    "\"'><svg onload=alert(3)>",
    "{{ 7 * 7 }}${window.hacked = 4}",
    "gpt\u202egnp.exe",
    "a\x00b\x1b[31m",
    "m" * 4096,
]


def test_given_hostile_names_then_they_are_only_text(opened, tmp_path):
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
    page_file = tmp_path / "fleet.html"
    assert shop("report", "--html", page_file).code == 0

    page = opened(page_file)
    for _ in range(2 * len(HOSTILE)):
        page.locator("#table .open").nth(_).click()
        page.keyboard.press("Escape")
    page.locator("details").evaluate_all("all => all.forEach(one => { one.open = true; })")

    assert page.evaluate("typeof window.hacked") == "undefined"
    assert page.locator("img, iframe, object, link").count() == 0
    assert page.locator("script").count() == 2
    assert HOSTILE[0] in column(page, 1)
    assert "{{ 7 * 7 }}${window.hacked = 4}" in column(page, 1)
    assert not any("\u202e" in one for one in column(page, 1))
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (
        "nothing is pushed off the page"
    )


def test_ten_thousand_bundles_stay_usable(opened, large, capsys):
    began = time.perf_counter()
    page = opened(large)
    page.locator("#table tbody tr").first.wait_for()
    opened_s = time.perf_counter() - began
    assert found(page)[1] >= 10_000

    began = time.perf_counter()
    page.fill("#q", "qwen3 h200")
    wait_found(page, lambda count: count < found(page)[1])
    searched_s = time.perf_counter() - began

    with capsys.disabled():
        told = {
            "bytes": large.stat().st_size,
            "opened_s": round(opened_s, 2),
            "searched_s": round(searched_s, 2),
        }
        print(f"\n10,000 bundles: {json.dumps(told)}")
    assert page.locator("#table tbody tr").count() <= 100
    assert searched_s < 5
