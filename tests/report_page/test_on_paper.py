"""The page printed: a real PDF, read again."""

import io
import re

import pypdf
import pytest
from tests.report_page.reading import found, wait_found

HEAD = re.compile(r"Model\s+GPU\s+FlashInfer\s+State")


def printed(page):
    """The text of each sheet."""
    reader = pypdf.PdfReader(io.BytesIO(page.pdf(format="A4")))
    return [sheet.extract_text() for sheet in reader.pages]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_that_was_found_is_printed_under_a_head_on_each_sheet(opened, fleet, scheme):
    page = opened(fleet, color_scheme=scheme)
    page.select_option("#f-version", "0.7.2")
    wait_found(page, lambda count: count > 100)
    count, whole = found(page)

    sheets = printed(page)

    text = "\n".join(sheets)
    assert f'{count} bundles of {whole} in all. Filter: version "0.7.2".' in text
    rows = [len(re.findall(r"\b0\.7\.2\b(?! *\")(?!/)", sheet)) for sheet in sheets]
    with_rows = [
        sheet for sheet, number in zip(sheets, rows, strict=True) if number > 5 and "/sm" not in sheet
    ]
    assert len(with_rows) >= 2
    assert all(HEAD.search(sheet) for sheet in with_rows), "each sheet of the table has its head"
    assert sum(rows) >= count
    assert len(sheets) <= 4 + count // 30
    assert "Clear" not in text
    assert "Dark theme" not in text
    assert page.locator("#table tbody tr").count() == 100, "what is on the screen is as before"


def test_on_paper_colours_are_those_of_a_light_page(opened, fleet):
    page = opened(fleet, color_scheme="dark")
    page.emulate_media(media="print")

    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    cell = page.locator(".map td.share-4").first
    assert cell.evaluate("one => getComputedStyle(one).backgroundColor") == "rgb(191, 227, 200)"
    assert cell.evaluate("one => getComputedStyle(one).printColorAdjust") == "exact"
    assert not page.locator("#filters, nav, .pager").locator("visible=true").count()


def test_ten_thousand_rows_are_not_printed_and_it_says_so(opened, large):
    page = opened(large)

    page.evaluate("dispatchEvent(new Event('beforeprint'))")

    assert page.locator("#table tbody tr").count() == 2000
    assert page.locator("#printed").text_content().startswith("The first 2,000 of 10,000 bundles of")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("#table tbody tr").count() == 100
