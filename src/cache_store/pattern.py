"""`pattern` is `re.compile`, put off until somebody matches: most of a hit's 40 patterns are for starts that are none.

Type checkers see `re.compile`. tests/unit/test_pattern.py compiles every pattern of the product.
"""

from __future__ import annotations

import re

from cache_store.annotation import TYPE_CHECKING

if TYPE_CHECKING:
    pattern = re.compile
else:

    class Pattern:
        """As `re.Pattern`, whose attributes it takes over one by one."""

        def __init__(self, text: str | bytes, flags: int) -> None:
            self._given = text, flags

        def __getattr__(self, name: str) -> object:
            found = getattr(re.compile(*self._given), name)
            setattr(self, name, found)
            return found

        def __repr__(self) -> str:
            return repr(re.compile(*self._given))

    def pattern(text: str | bytes, flags: int = 0) -> Pattern:
        return Pattern(text, flags)
