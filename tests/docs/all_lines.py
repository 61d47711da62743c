"""Every command line of every page, by who runs it."""

import shlex

import pytest
from tests.docs.line_classes import rows_for
from tests.docs.reading_pages import command_lines
from tests.pods import ROOT

# a change log names commands of its releases, and the template of the chart's page is on that page
NOT_PAGES = {"CHANGELOG.md", "helm/autotune-cache/README.tmpl.md"}
FOLDERS = ("", "docs/**/", "helm/**/", "examples/**/", "tools/**/")
PAGES = sorted(
    {str(path.relative_to(ROOT)) for folder in FOLDERS for path in ROOT.glob(f"{folder}*.md")} - NOT_PAGES
)
TOLD = [told for page in PAGES for told in command_lines(page, (ROOT / page).read_text())]


def of(how):
    """The lines of a class, each once however many pages have it."""
    found = {told.text: told for told in TOLD if [row.how for row in rows_for(told)] == [how]}
    return [pytest.param(told, id=str(told)) for told in found.values()]


def words_of(told):
    return shlex.split(told.text.split(" | ")[0], comments=True)
