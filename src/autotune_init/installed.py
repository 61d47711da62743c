"""What is installed for a Python, read from the files below its search path.

Same answers as `importlib.metadata` (Python 3.10 to 3.13) for what is asked here, from the few files that matter: a
serving image has 300 distributions, and parsing each one's METADATA costs longer than the whole hit. Reads another
interpreter's search path just as well. Distributions inside zip files and `.egg` directories are not seen.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from cache_store.dataclass import dataclass

_METADATA_LIMIT_BYTES = 1024 * 1024
_SUFFIXES = (".dist-info", ".egg-info")
_PIP_LEFTOVER = "~"  # an interrupted uninstall; importlib.metadata still lists it under its old name


@dataclass(frozen=True)
class Distribution:
    """One installed distribution; `name` as its metadata spells it."""

    name: str
    version: str
    requires: tuple[str, ...] = ()


class InstalledPackages:
    """Distributions and modules below `search_path`, first entry first, duplicates of entries included."""

    def __init__(self, search_path: Sequence[str]) -> None:
        self.search_path = tuple(entry or "." for entry in search_path)
        self._listings: dict[str, tuple[str, ...]] = {}

    def version(self, name: str) -> str | None:
        """The installed version of a distribution, or None."""
        found = self.distribution(name)
        return found.version if found else None

    def distribution(self, name: str) -> Distribution | None:
        """What `importlib.metadata.distribution(name)` would find, or None."""
        wanted = _normal(name)
        for directory, child in self._children():
            stem = child.rpartition(".")[0]
            if _normal(stem.partition("-")[0]) == wanted:
                found = _read(Path(directory, child))
                if found is not None:
                    return found
        return None

    def distributions_called(self, prefix: str) -> list[Distribution]:
        """Every distribution whose normalised name begins with `prefix`, duplicates included.

        The caller compares `name` itself where spelling matters.
        """
        wanted = _normal(prefix)
        found = []
        for directory, child in self._children():
            if child.startswith(_PIP_LEFTOVER) or _normal(child).startswith(wanted):
                distribution = _read(Path(directory, child))
                if distribution is not None and _normal(distribution.name).startswith(wanted):
                    found.append(distribution)
        return found

    def package_dir(self, name: str) -> Path | None:
        """The directory that `import name` would take (one with an `__init__.py`), or None.

        Editable installs through import hooks are not seen: `distribution` then answers and this does not.
        """
        for entry in self.search_path:
            candidate = Path(entry, name)
            if (candidate / "__init__.py").is_file():
                return candidate
        return None

    def _children(self) -> Iterator[tuple[str, str]]:
        for entry in self.search_path:
            if entry not in self._listings:
                try:
                    names = os.listdir(entry)  # noqa: PTH208 -- names only, in the order of importlib.metadata
                except OSError:
                    names = []  # a missing entry and a zip file are normal on a search path
                self._listings[entry] = tuple(n for n in names if n.lower().endswith(_SUFFIXES))
            for child in self._listings[entry]:
                yield entry, child


def text_assignment(path: Path, name: str) -> str | None:
    """The literal string that a module assigns to `name` at its top level, with or without an annotation.

    "" where it assigns None; None where the file or such a line is missing or the value is something else (a call).
    """
    try:
        with path.open(encoding="utf-8", errors="replace") as module:
            text = module.read(_METADATA_LIMIT_BYTES)
    except OSError:
        return None
    pattern = rf"^{re.escape(name)}[ \t]*(?::[^=\n]*)?=[ \t]*(?:None|(['\"])([^'\"\\\n]*)\1)[ \t]*(?:#.*)?$"
    found = re.search(pattern, text, re.MULTILINE)
    return (found.group(2) or "") if found else None


def _normal(name: str) -> str:
    name = name.replace("_", "-").replace(".", "-").lower()
    while "--" in name:
        name = name.replace("--", "-")
    return name


def _read(place: Path) -> Distribution | None:
    for candidate in (place / "METADATA", place / "PKG-INFO", place):
        try:
            with candidate.open(encoding="utf-8", errors="replace") as metadata:
                return _parse(metadata.read(_METADATA_LIMIT_BYTES))
        except OSError:
            continue
    return None


def _parse(text: str) -> Distribution | None:
    """The headers of a core-metadata file; None where it has no name or no version (as good as not installed)."""
    name = version = ""
    requires = []
    for line in text.splitlines():
        if not line.strip():
            break
        key, _, value = line.partition(":")
        if key.lower() == "name" and not name:
            name = value.strip()
        elif key.lower() == "version" and not version:
            version = value.strip()
        elif key.lower() == "requires-dist":
            requires.append(value.strip())
    return Distribution(name, version, tuple(requires)) if name and version else None
