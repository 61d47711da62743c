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
from tests.report_page.reading import column, found, wait_found

AXE = Path(axe_playwright_python.__file__).parent / "axe.min.js"
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}


def test_the_search_finds_by_any_word(opened, fleet):
    page = opened(fleet)
    whole = found(page)[0]

    page.fill("#q", "deepseek b200")
    wait_found(page, lambda count: count < whole)

    models, gpus = column(page, 1), column(page, 2)
    assert models
    assert all("deepseek" in one.lower() for one in models)
    assert set(gpus) == {"B200"}


def test_what_nobody_has_is_not_found_and_clear_brings_all_back(opened, fleet):
    page = opened(fleet)
    whole = found(page)[0]

    page.fill("#q", "no such model")
    wait_found(page, lambda count: count == 0)
    assert page.locator("#table tbody tr").count() == 0
    page.get_by_role("button", name="Clear").click()

    wait_found(page, lambda count: count == whole)


@pytest.mark.parametrize(
    ("control", "value", "at", "shown"),
    [
        ("#f-state", "quarantined", 4, "quarantined"), ("#f-gpu", "NVIDIA H200", 2, "H200"), ("#f-version", "0.7.1", 3, "0.7.1"),
        ("#f-coverage", "unknown", 5, "unknown"), ("#f-model", "zai-org/GLM-4.6", 1, "zai-org/GLM-4.6"), ("#f-engine", "sglang 0.5.23", 6, "sglang 0.5.23"),
    ],
)  # fmt: skip
def test_filters(opened, fleet, control, value, at, shown):
    page = opened(fleet)

    page.select_option(control, value)

    assert set(column(page, at)) == {shown}
    assert 0 < found(page)[0] < found(page)[1]
    assert re.fullmatch(r"\d+ of \d+ bundles(, 1 to 100 shown)?", page.locator("output").inner_text())


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


def test_versions_sort_as_numbers(opened, tmp_path):
    shop = Shop()
    for number, release in enumerate(["0.6.18", "0.10.0", "0.7.2", "0.6.9"]):
        metadata = {**bundles.H100, "flashinfer_version": release}
        who = replace(bundles.identity(metadata, key=f"{number:016x}"), flashinfer_version=release)
        shop.publish(who=who)
    assert shop("report", "--html", tmp_path / "fleet.html").code == 0
    page = opened(tmp_path / "fleet.html")

    page.get_by_role("button", name="FlashInfer").click()

    assert column(page, 3) == ["0.6.9", "0.6.18", "0.7.2", "0.10.0"]
    assert page.locator("#f-version option").all_inner_texts() == [
        "all",
        "0.6.9",
        "0.6.18",
        "0.7.2",
        "0.10.0",
    ]


def test_pages_of_the_table_by_keyboard(opened, fleet):
    page = opened(fleet)
    first = column(page, 8)
    below = page.get_by_role("group", name="Pages, below the table")
    pages = -(-found(page)[0] // 100)

    below.get_by_role("button", name="Next").focus()
    page.keyboard.press("Enter")
    assert page.locator("output").inner_text().endswith(", 101 to 200 shown")
    assert column(page, 8) != first
    assert page.locator("#found").bounding_box()["y"] >= 0, "from its top"
    for _ in range(pages + 1):
        page.keyboard.press("Enter")

    assert below.locator(".where").inner_text() == f"page {pages} of {pages}"
    assert page.evaluate("document.activeElement.textContent") == "Next", "the focus stays at the end"
    assert "page=5" in page.url
    assert (
        opened(fleet, fragment="#page=5").locator("output").inner_text()
        == page.locator("output").inner_text()
    )
    page.get_by_role("group", name="Pages, above the table").get_by_role("button", name="First").click()
    assert column(page, 8) == first


@pytest.mark.parametrize(
    "query", ["{address}", "/{address}/", "{store}/{address}/bundle.json", '"{address}"']
)
def test_a_pasted_address_is_found(opened, fleet, query):
    page = opened(fleet)
    page.select_option("#f-state", "published")
    page.locator("#table .open").nth(3).click()
    address = page.url.partition("at=")[2].replace("%2F", "/")
    store = page.evaluate("JSON.parse(document.getElementById('data').textContent).store").rstrip("/")
    page.keyboard.press("Escape")

    page.fill("#q", query.format(address=address, store=store))

    wait_found(page, lambda count: count == 1)


@pytest.mark.parametrize(
    ("query", "at", "beginning"),
    [
        ("complete", 5, "complete"), ("being", 4, ("being tuned", "unreadable being tuned")), ("retired", 4, ("retired", "quarantined")), ("tombstone", 4, "retired"),
        ("tuner-crashed memory", 4, "failed"), ("580.95 2026-03", 8, "2026-03"), ("modelopt_fp8 sglang", 6, "sglang"), ("trainer-", 7, "trainer-"),
    ],
)  # fmt: skip
def test_the_search_knows_what_people_type(opened, fleet, query, at, beginning):
    page = opened(fleet)

    page.fill("#q", query)

    wait_found(page, lambda count: 0 < count < found(page)[1])
    page.wait_for_timeout(150)
    assert [one for one in column(page, at) if not one.startswith(beginning)] == []


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


def test_given_a_link_to_what_is_not_here_then_it_says_so(opened, fleet):
    page = opened(fleet, fragment="#gpu=NVIDIA+GB300&version=0.7.2")

    assert found(page)[0] == 0
    assert page.locator("#f-gpu option:checked").inner_text() == "NVIDIA GB300 (not here)"
    page.get_by_role("button", name="Clear").click()
    wait_found(page, lambda count: count == found(page)[1])


@pytest.mark.parametrize(
    "fragment",
    ["#sort=__proto__&state=%00", "#q=%E0%A4%A", "#version=nope&gpu=x", "#page=-3", "#page=1e99&model="],
)
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
    button = page.get_by_role("button", name="Dark theme")
    assert not page.locator("#old").is_visible()
    assert button.get_attribute("aria-pressed") == "false"

    button.click()

    assert page.evaluate(ground) != light
    assert button.get_attribute("aria-pressed") == "true"
    button.click()
    assert page.evaluate(ground) == light


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_in_forced_colours_the_map_can_be_read(opened, fleet, scheme):
    page = opened(fleet, color_scheme=scheme, forced_colors="active")
    style = "one => [getComputedStyle(one).color, getComputedStyle(one.closest('td')).backgroundColor]"

    for text in (".pick b", ".pick small"):
        assert contrast(*page.locator(f".map {text}").first.evaluate(style)) >= 4.5


@pytest.mark.parametrize("width", [320, 390, 768, 1024, 1440])
def test_the_table_scrolls_in_its_box_and_the_page_does_not(opened, fleet, width):
    page = opened(fleet)
    page.set_viewport_size({"width": width, "height": 900})

    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.evaluate("Object.assign(document.getElementById('box'), { scrollLeft: 300, scrollTop: 300 })")
    box = page.locator("#box").bounding_box()
    head, first = (
        page.locator("#table thead th").first.bounding_box(),
        page.locator("#table tbody tr:nth-child(20) th").bounding_box(),
    )
    assert (round(head["y"] - box["y"]), round(head["x"] - box["x"]), round(first["x"] - box["x"])) == (
        1,
        1,
        1,
    ), "head and first column stay"
    narrow = page.locator("#table tbody tr:first-child > *").evaluate_all(
        "all => all.map(one => one.clientWidth)"
    )
    assert min(narrow) >= 45, "no column is crushed"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_controls_are_large_enough_and_can_be_seen(opened, fleet, scheme):
    page = opened(fleet, color_scheme=scheme)

    small = page.locator("button, select, input, summary, nav a, .troubles a").evaluate_all(
        "all => all.filter(one => one.checkVisibility() && one.getBoundingClientRect().height < 24).map(one => one.outerHTML)"
    )
    assert small == []
    edge, ground = page.evaluate(
        "[getComputedStyle(document.getElementById('q')).borderTopColor, getComputedStyle(document.getElementById('q')).backgroundColor]"
    )
    assert contrast(edge, ground) >= 3


def contrast(one, other):
    """WCAG 2's ratio of two colours written as rgb(r, g, b)."""
    shades = []
    for colour in (one, other):
        parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
        red, green, blue = (
            part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
        )
        shades.append(0.2126 * red + 0.7152 * green + 0.0722 * blue)
    return (max(shades) + 0.05) / (min(shades) + 0.05)


def test_without_javascript_there_is_a_table_and_no_dead_control(opened, fleet):
    page = opened(fleet, java_script_enabled=False)

    assert page.locator("noscript table tbody tr").count() == 440
    assert page.locator("#filters, #theme, .pager, #box").locator("visible=true").count() == 0
    assert page.locator("button").locator("visible=true").count() == 0


def test_given_an_old_page_then_it_says_so(opened, fleet, tmp_path):
    text = re.sub(r'<time datetime="[^"]+"', '<time datetime="2026-01-05T00:00:00+00:00"', fleet.read_text())
    tmp_path.joinpath("old.html").write_text(text)

    page = opened(tmp_path / "old.html")

    assert re.fullmatch(r"This page is \d+ days old: .*", page.locator("#old").inner_text())


def test_given_a_frame_without_an_address_then_it_works_all_the_same(browser, fleet):
    """A viewer of build artifacts shows a page by srcdoc; there history.replaceState throws."""
    page, said = browser.new_page(), []
    page.on("pageerror", lambda error: said.append(str(error)))
    page.set_content(
        '<iframe id="frame" sandbox="allow-scripts" style="width: 1200px; height: 700px"></iframe>'
    )
    page.evaluate("text => { document.getElementById('frame').srcdoc = text; }", fleet.read_text())
    frame = page.frame_locator("#frame")
    frame.locator("#table tbody tr").first.wait_for()

    frame.locator("#q").fill("h200")
    page.wait_for_timeout(300)

    assert re.match(r"\d+ of 440 bundles", frame.locator("#found").inner_text())
    assert not frame.locator("#found").inner_text().startswith("440")
    assert said == []
    page.close()


def test_the_policy_forbids_everything_else(opened, fleet):
    page = opened(fleet)

    policy = page.locator("meta[http-equiv]").get_attribute("content")
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert not re.search(
        r"https?:", re.sub(r"<script type=.*?</script>", "", fleet.read_text(), flags=re.DOTALL)
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
