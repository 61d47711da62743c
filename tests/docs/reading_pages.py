"""Command lines of the pages: what stands in fences for a shell, and what prose has in backticks. Pure."""

import re
from dataclasses import dataclass

# whose command lines a reader would type; a container's own (`sglang serve`) is none of ours to run
PROGRAMS = (
    "autotune-init", "aws", "cache-store", "docker", "helm", "kubectl", "make", "nvidia-smi", "pip", "pytest", "python",
    "source",
)  # fmt: skip
LANGUAGES = ("json", "mermaid", "python", "sh", "text", "yaml")
_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>[^\n]*)\n(?P<body>.*?)^(?P=indent)```", re.MULTILINE | re.DOTALL
)
_CODE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")


@dataclass(frozen=True)
class Fence:
    """One fenced block, without the indentation of its list. `line` is that of its first line, from 1."""

    language: str
    body: str
    line: int


@dataclass(frozen=True)
class Told:
    """One command line, continuations and here-documents included."""

    page: str
    line: int
    text: str
    is_prose: bool

    def __str__(self):
        return f"{self.page}:{self.line}: {self.text.splitlines()[0]}"


def fences(text):
    for found in _FENCE.finditer(text):
        width = len(found["indent"])
        body = "".join(one[width:] for one in found["body"].splitlines(keepends=True))
        yield Fence(found["language"], body, text[: found.start("body")].count("\n") + 1)


def prose(text):
    """The page without its fences, lines where they were."""
    return _FENCE.sub(lambda found: "\n" * found[0].count("\n"), text)


def statements(body):
    """(line from 0, text): what a shell would take as one command. A comment ends where its line does."""
    begun, kept, heredoc, depth = 0, [], "", 0
    for number, line in enumerate(body.splitlines()):
        if not kept:
            begun = number
        kept.append(line)
        if heredoc:
            heredoc = "" if line == heredoc else heredoc
            if heredoc:
                continue
        elif opened := re.search(r"<<'?(\w+)'?", line):
            heredoc = opened[1]
            continue
        depth += len(re.findall(r"(?:^|; )(?:do|then)$", line)) - len(re.findall(r"^\s*(?:done|fi)\b", line))
        if line.endswith("\\") or depth:
            continue
        if "\n".join(kept).strip():
            yield begun, "\n".join(kept)
        kept = []
    if kept:
        yield begun, "\n".join(kept)


def command_lines(page, text):
    """Everything on the page that a reader could type, in its order."""
    for fence in fences(text):
        if fence.language == "sh":
            for offset, statement in statements(fence.body):
                yield Told(page, fence.line + offset, statement, is_prose=False)
    plain = prose(text)
    for found in _CODE.finditer(plain):
        words = found[1].split()
        if words[0] in PROGRAMS and len(words) > 1:
            yield Told(page, plain[: found.start()].count("\n") + 1, found[1], is_prose=True)


def indented_code(text):
    """Lines that Markdown takes for code although they have no fence, so that nobody can say what they are."""
    before = ""
    for number, line in enumerate(prose(text).splitlines(), 1):
        is_listed = re.match(r"\s*([-*|]|\d+\.) ", line)
        if line.startswith("    ") and not before.strip() and line.strip() and not is_listed:
            yield number
        before = line
