"""Pages in a real browser. `make test-page` fetches it; without it these fail."""

import subprocess
import sys

import pytest
from playwright.sync_api import sync_playwright
from tests.pods import ROOT
from tests.report_page import chromium


@pytest.fixture(scope="session")
def browser():
    assert chromium.is_there(), "no Chromium: make test-page fetches it"
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=str(chromium.BINARY), env=chromium.environ(), args=["--no-sandbox"]
        )
        yield launched
        launched.close()


def write_page(folder, count, *flags):
    """The page of a made-up fleet, by the program."""
    store = folder / "store"
    store.mkdir()
    fill = [sys.executable, "-m", "benchmarks.large_bucket", store.as_uri(), str(count), *flags]
    subprocess.run(fill, cwd=ROOT, capture_output=True, check=True)
    page = folder / "fleet.html"
    command = [
        sys.executable,
        "-m",
        "cache_store.cli",
        "--store",
        store.as_uri(),
        "report",
        "--html",
        str(page),
    ]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    return page


@pytest.fixture(scope="session")
def fleet(tmp_path_factory):
    """440 workloads, foreign and broken ones among them."""
    return write_page(tmp_path_factory.mktemp("fleet"), 400, "--odd")


@pytest.fixture(scope="session")
def large(tmp_path_factory):
    return write_page(tmp_path_factory.mktemp("large"), 10_000)


@pytest.fixture
def opened(browser):
    """Opens a page, and at the end says what went wrong in it: nothing may be logged, nothing may be asked for."""
    contexts, said, asked = [], [], []

    def open_page(path, *, fragment="", **how):
        context = browser.new_context(viewport={"width": 1240, "height": 1000}, **how)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(path.as_uri() + fragment)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert said == []
    assert {url.partition(":")[0] for url in asked} <= {"file"}
    assert len({url.partition("#")[0] for url in asked}) <= 1, asked
