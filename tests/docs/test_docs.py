"""Pages that come from code are what the code says; commands and files that pages name exist."""

import re
import subprocess
import sys

import pytest
from tests.docs.reading_links import anchors, links
from tests.pods import ROOT

FOLDERS = ("", "docs/**/", "examples/**/", "helm/**/", "tools/**/")
PAGES = sorted({page for folder in FOLDERS for page in ROOT.glob(f"{folder}*.md")})
INDEX = ROOT / "docs" / "README.md"


def test_generated_pages_are_up_to_date():
    done = subprocess.run(
        [sys.executable, "tools/make_docs.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)).replace("/", "-"))
def test_links_and_anchors_lead_somewhere(page):
    for target, anchor in links(page.read_text()):
        there = (page.parent / target).resolve() if target else page
        assert there.exists(), target
        assert ROOT in (there, *there.parents), f"{target} leads out of the repository"
        if anchor:
            assert anchor in anchors(there.read_text()), f"{target}#{anchor}"


@pytest.mark.parametrize(
    ("page", "found"),
    [
        ("[a](b.md) `[c](d.md)` [e](#f) ![g](h.svg) [i](https://example.com/j)", ["b.md#", "#f", "h.svg#"]),
        ("```sh\n[a](b.md)\n```\n[c](d.md#e)", ["d.md#e"]),
    ],
)
def test_what_a_link_is(page, found):
    assert [f"{target}#{anchor}" for target, anchor in links(page)] == found


def test_anchors_are_those_that_github_makes():
    page = "# A `run --x` of b/c\n## A\n## A\n## \\<day\\>_x, [y](z.md)\n```sh\n# no heading\n```\n"

    assert list(anchors(page)) == ["a-run---x-of-bc", "a", "a-1", "day_x-y"]


def test_the_index_has_every_page():
    listed = {(INDEX.parent / target).resolve() for target, _ in links(INDEX.read_text())}
    pages = {page for page in PAGES if page != INDEX and not page.name.endswith(".tmpl.md")}

    assert [str(page.relative_to(ROOT)) for page in sorted(pages - listed)] == []


def test_the_index_has_one_line_a_page():
    lines = [line for line in INDEX.read_text().splitlines() if line.startswith("- ")]

    assert all(len(line) <= 130 for line in lines)
    assert all(re.match(r"- \[[^]]+\]\([^)]+\)", line) for line in lines)


def test_every_make_target_that_a_page_names_exists():
    targets = set(re.findall(r"^([a-z][a-z0-9-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        named = set(re.findall(r"`make ([a-z][a-z0-9-]+)", page.read_text()))
        assert named <= targets, (page, named - targets)


@pytest.mark.parametrize("command", ["run", "key", "facts"])
def test_every_option_is_in_the_help_of_every_command(command):
    from autotune_init.options import OPTIONS

    done = subprocess.run(
        [sys.executable, "-m", "autotune_init", command, "--help"], capture_output=True, text=True, check=True
    )

    assert [option.flag for option in OPTIONS if option.flag not in done.stdout] == []


def test_every_outcome_and_field_of_the_report_is_documented():
    import dataclasses

    from autotune_init.outcomes import Outcome
    from autotune_init.report import Report

    readme, page = (ROOT / "README.md").read_text(), (ROOT / "docs" / "cli.md").read_text()

    assert [outcome.value for outcome in Outcome if f"`{outcome.value}`" not in readme] == []
    undocumented = [f.name for f in dataclasses.fields(Report) if f"`{f.name}`" not in page]
    assert undocumented == []
