"""The end of every help page: examples, and what the numbers mean."""

from __future__ import annotations

from cache_store.exit_codes import MEANINGS, ExitCode

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
    lines = [f"  cache-store {line.strip()}" for line in examples.strip().splitlines()]
    head = "\b\nEXAMPLES\n{}\n\n".format("\n".join(lines)) if lines else ""
    rows = "\n".join(f"  {code.value:>3}  {MEANINGS[code]}" for code in sorted(codes))
    return f"{head}\b\nEXIT STATUS\n{rows}"
