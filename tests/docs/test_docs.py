"""Pages that come from code are what the code says; commands and files that pages name exist."""

import re
import subprocess
import sys

import pytest
from tests.pods import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])


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
def test_relative_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


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
