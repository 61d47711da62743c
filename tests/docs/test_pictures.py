"""The pictures of the README: what they show is still so, and they load nothing from anywhere."""

import html
import re
from xml.etree import ElementTree as ET

import pytest
from tests.docs.our_parsers import parses
from tests.pods import ROOT
from tools.make_recording import COLUMNS, MAX_PICTURE_BYTES, TYPED

PICTURES = sorted((ROOT / "docs" / "img").glob("*.svg"))
TERMINAL = (ROOT / "docs" / "img" / "terminal.svg").read_text()
README = (ROOT / "README.md").read_text()
OURS = [line for line in TYPED if line.startswith(("autotune-init ", "cache-store "))]


def rows():
    """The lines of the terminal, top down."""
    found = {}
    for y, text in re.findall(
        r'<text class="terminal-r\d+" x="[\d.]+" y="([\d.]+)"[^>]*>(.*?)</text>', TERMINAL
    ):
        found.setdefault(float(y), []).append(html.unescape(text).replace("\xa0", " "))
    return ["".join(found[y]) for y in sorted(found)]


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.name)
def test_a_picture_is_small_and_loads_nothing(picture):
    text = picture.read_text()
    root = ET.fromstring(text)

    assert len(text) <= MAX_PICTURE_BYTES
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert re.findall(r"url\((?!#)|@import|<script|<image|href=|@font-face", text) == []


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.name)
def test_the_readme_shows_it_and_says_what_is_to_be_seen(picture):
    (alt,) = re.findall(rf"!\[([^]]+)\]\(docs/img/{re.escape(picture.name)}\)", README)

    assert len(alt) > 60


def test_the_flow_is_for_light_and_dark():
    text = (ROOT / "docs" / "img" / "flow.svg").read_text()

    assert "prefers-color-scheme: dark" in text
    assert all(word in text for word in ("<title", "<desc", "lookup", "pull", "lease", "publish", "place"))


@pytest.mark.parametrize("line", OURS)
def test_every_recorded_command_is_still_one(line):
    parses(line.split(" | ")[0].split(" > ")[0].replace("$ENGINE", "python3 -m sglang.launch_server"))


def test_the_picture_is_of_what_the_recorder_types():
    """After a change of the lines: python tools/make_recording.py."""
    shown = [row for row in rows() if row.startswith(("$ ", "#"))]

    assert len(shown) == len(TYPED)
    for row, line in zip(shown, TYPED, strict=True):
        typed = line if line.startswith("#") else f"$ {line}"
        assert re.fullmatch(re.escape(typed).replace("KEY", "[0-9a-f]{6}"), row)
    assert max(map(len, rows())) <= COLUMNS


def test_one_pod_tuned_and_the_next_one_hit():
    told = [row for row in rows() if row.startswith("autotune-init: ")]

    assert [row for row in told if row.endswith(")")] == [
        "autotune-init: tuned (published)",
        "autotune-init: hit (found)",
    ]
