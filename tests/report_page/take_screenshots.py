"""Pictures of the report page for the README: a made-up fleet, read by the program, seen by Chromium.

make screenshots        # writes docs/img/report-light.png, report-dark.png, report-inventory.png and report-bundle.png
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright
from tests.pods import ROOT
from tests.report_page import chromium

IMAGES = ROOT / "docs" / "img"


def main():
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        store, page_file = Path(folder) / "fleet", Path(folder) / "fleet.html"
        store.mkdir()
        fill = [sys.executable, "-m", "benchmarks.large_bucket", store.as_uri(), "160", "--records", "900"]
        subprocess.run(fill, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
        command = [
            sys.executable,
            "-m",
            "cache_store.cli",
            "--store",
            store.as_uri(),
            "report",
            "--html",
            page_file,
        ]
        subprocess.run(command, cwd=ROOT, stderr=subprocess.DEVNULL, check=True)
        # the picture shows what a bucket's page looks like, not where this one lay
        page_file.write_text(page_file.read_text().replace(store.as_uri(), "s3://ml-tuned-kernels/fleet"))
        browser = playwright.chromium.launch(
            executable_path=str(chromium.BINARY), env=chromium.environ(), args=["--no-sandbox"]
        )
        for scheme in ("light", "dark"):
            page = browser.new_page(viewport={"width": 1280, "height": 1250}, color_scheme=scheme)
            page.goto(page_file.as_uri())
            page.screenshot(path=IMAGES / f"report-{scheme}.png")
        page = browser.new_page(viewport={"width": 1280, "height": 620}, color_scheme="light")
        page.goto(page_file.as_uri() + "#q=kimi&state=published")
        page.locator("#inventory").evaluate("one => one.scrollIntoView()")
        page.screenshot(path=IMAGES / "report-inventory.png")
        page.locator("#table .open").first.click()
        page.get_by_role("dialog").screenshot(path=IMAGES / "report-bundle.png")
        browser.close()


if __name__ == "__main__":
    main()
