"""Links of a page and the anchors that its headings make, as GitHub makes them. Pure."""

import re
from collections import Counter

from tests.docs.reading_pages import prose

_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)


def links(text):
    """(target, anchor) of every link that leads into this repository. Code is no link."""
    plain = re.sub(r"`[^`\n]*`", "", prose(text))
    for target in _LINK.findall(plain):
        if not re.match(r"[a-z]+:", target):
            path, _, anchor = target.partition("#")
            yield path, anchor


def anchors(text):
    """Names that a link to this page may have behind `#`."""
    seen = Counter()
    for heading in _HEADING.findall(prose(text)):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        name = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        yield f"{name}-{seen[name]}" if seen[name] else name
        seen[name] += 1
