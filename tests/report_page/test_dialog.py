"""One bundle's identity: on click, by its own address, and with what one copies from it."""

from urllib.parse import quote

import pytest
from tests import bundles
from tests.cli.conftest import Shop
from tests.report_page.reading import column, details, found


@pytest.fixture(scope="module")
def troubled(tmp_path_factory):
    """One bundle of each kind of trouble."""
    shop = Shop()
    shop.publish()
    shop.claim(
        bundles.identity(key="a" * 16), state="failed", error="out of memory", tail=("line 1", "CUDA error")
    )
    shop.claim(bundles.identity(key="b" * 16), state="held", holder="pod-gone")
    shop.put(bundles.identity(key="c" * 16).address.bundle_key, bundles.tombstone(may_retune=False).encode())
    shop.clock.advance(7200)
    page = tmp_path_factory.mktemp("dialog") / "fleet.html"
    assert shop("report", "--html", page).code == 0
    return page


def address_of(letter):
    return str(bundles.identity(key=letter * 16).address)


def test_a_workload_shows_its_identity_on_click(opened, fleet):
    page = opened(fleet)
    page.select_option("#f-state", "published")
    model = column(page, 1)[0]

    page.locator("#table .open").first.click()

    dialog = page.get_by_role("dialog")
    assert dialog.get_by_role("heading", level=2).inner_text().startswith(model[:20])
    told = details(page)
    assert {
        "model_path",
        "quantization",
        "gpu",
        "cublas_version",
        "tuned in",
        "entries",
        "Written (UTC)",
        "Size in the store",
    } <= set(told)
    assert told["State"] == "published"
    assert told["model_path"] == model
    dialog.get_by_role("button", name="Close").click()
    assert page.get_by_role("dialog").count() == 0
    assert "at=" not in page.url


def test_a_link_opens_it_and_closing_it_keeps_the_filters(opened, fleet):
    page = opened(fleet, fragment="#state=published&gpu=NVIDIA+H200")
    shown = found(page)
    page.locator("#table .open").nth(2).click()
    fragment = "#" + page.url.partition("#")[2]

    again = opened(fleet, fragment=fragment)

    assert again.get_by_role("dialog").inner_text() == page.get_by_role("dialog").inner_text()
    again.keyboard.press("Escape")
    assert again.get_by_role("dialog").count() == 0
    assert found(again) == shown
    assert again.url.endswith("#state=published&gpu=NVIDIA+H200")


def test_what_needs_attention_is_a_link_to_it(opened, troubled):
    page = opened(troubled)

    page.get_by_role("link", name=address_of("a")).click()
    page.get_by_role("dialog").wait_for()

    told = details(page)
    assert (told["State"], told["Why"], told["error"]) == ("failed", "pod-a: out of memory", "out of memory")
    assert told["last heard of"] == "2h00m before this was read"
    assert "CUDA error" in page.get_by_role("dialog").inner_text()
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.textContent") == address_of("a"), "where it was opened"
    page.get_by_role("link", name=address_of("c")).click()
    page.get_by_role("dialog").wait_for()
    assert (details(page)["why"], details(page)["by"]) == ("bad tactic", "ops")
    page.go_back()
    page.wait_for_function("!document.getElementById('one').open")


@pytest.mark.parametrize("what", ["0.7.2/sm90/ffffffffffffffff/x-0123456789ab", "<img src=x>", "__proto__"])
def test_given_an_address_that_is_not_here_then_it_says_so(opened, troubled, what):
    page = opened(troubled, fragment=f"#at={quote(what)}")

    text = page.get_by_role("dialog").inner_text()
    assert "Not in this report" in text
    assert what in text
    page.keyboard.press("Escape")
    assert page.locator("#table tbody tr").count() == 4


@pytest.mark.parametrize(
    ("letter", "label", "command"),
    [
        ("a", "See all of it", "cache-store show --store s3://models/autotune {}"),
        ("a", "Let somebody tune at once", "cache-store unlock --store s3://models/autotune {} --reason WHY"),
        ("b", "Object", "s3://models/autotune/{}/claim.json"),
        (
            "c",
            "Put it back",
            "cache-store restore --store s3://models/autotune {} --even-quarantined --reason WHY",
        ),
        ("c", "Object", "s3://models/autotune/{}/bundle.json"),
    ],
)
@pytest.mark.parametrize("has_clipboard", [True, False])
def test_what_one_copies(opened, troubled, letter, label, command, has_clipboard):
    page = opened(
        troubled, fragment=f"#at={address_of(letter)}", permissions=["clipboard-read", "clipboard-write"]
    )
    if not has_clipboard:
        page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")

    page.get_by_role("button", name=f"Copy: {label}").click()

    page.get_by_text("Copied", exact=True).wait_for()
    if has_clipboard:
        assert page.evaluate("navigator.clipboard.readText()") == command.format(address_of(letter))
    else:
        assert page.evaluate("getSelection().toString()").strip() == command.format(address_of(letter))


def test_its_close_button_stays_in_view_and_a_click_beside_it_closes(opened, fleet):
    page = opened(fleet, fragment="#state=published")
    page.set_viewport_size({"width": 900, "height": 400})
    page.locator("#table .open").first.click()

    page.evaluate("document.getElementById('one').scrollTop = 400")
    assert page.evaluate("document.getElementById('one').scrollTop") > 0
    dialog, button = (
        page.locator("#one").bounding_box(),
        page.get_by_role("button", name="Close").bounding_box(),
    )
    assert button["y"] >= dialog["y"]
    page.mouse.click(dialog["x"] + 30, dialog["y"] + dialog["height"] - 30)
    assert page.get_by_role("dialog").is_visible()
    page.mouse.click(5, 5)
    assert page.get_by_role("dialog").count() == 0
