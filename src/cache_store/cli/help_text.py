"""The end of every help page: examples, and what the numbers mean."""

from __future__ import annotations

from textwrap import fill

from cache_store.exit_codes import MEANINGS, ExitCode

PROGRAM = "cache-store"
# set by a shell's completion script, in which case the shell is answered and nothing runs
COMPLETION_VARIABLE = "_CACHE_STORE_COMPLETE"
WIDTH = 78  # 80 less the two by which click moves these lines, and does not wrap them

# any command can end so
ALWAYS = (
    ExitCode.INTERNAL,
    ExitCode.USAGE,
    ExitCode.UNAVAILABLE,
    ExitCode.DENIED,
    ExitCode.OUTPUT,
    ExitCode.INTERRUPTED,
)


def epilog(*codes: ExitCode, examples: str = "") -> str:
    """EXAMPLES (one command a line) and EXIT STATUS, in the form that click does not wrap."""
    lines = [f"  {PROGRAM} {line.strip()}" for line in examples.strip().splitlines()]
    head = "\b\nEXAMPLES\n{}\n\n".format("\n".join(lines)) if lines else ""
    rows = "\n".join(
        fill(MEANINGS[code], WIDTH, initial_indent=f"  {code.value:>3}  ", subsequent_indent=" " * 7)
        for code in sorted(codes)
    )
    return f"{head}\b\nEXIT STATUS\n{rows}"
