"""What a person reads off the page."""

import re
import time


def found(page):
    """(found, all) as the page says."""
    return tuple(
        int(one)
        for one in re.match(
            r"(\d+) of ([\d,]+)", page.locator("#found").inner_text().replace(",", "")
        ).groups()
    )


def wait_found(page, is_so):
    limit = time.monotonic() + 5
    while not is_so(found(page)[0]):
        assert time.monotonic() < limit, found(page)
        page.wait_for_timeout(20)


def column(page, number):
    """The texts of one column of the shown rows; what is not known is "-"."""
    told = page.locator(f"#table tbody tr > :nth-child({number})").all_inner_texts()
    return ["-" if one.split() in (["-", "none"], ["-none"]) else one for one in told]


def details(page):
    """The open dialog, as name -> value."""
    return dict(
        page.locator("#one dl").evaluate_all(
            "all => all.flatMap(list => [...list.children].filter(one => one.tagName === 'DT')"
            ".map(one => [one.textContent, one.nextSibling.textContent]))"
        )
    )
