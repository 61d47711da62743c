"""Every command line of the pages is run: here, or by the test that `line_classes` names. One that nobody runs fails."""

import importlib
import json
import os
import pty
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from tests import bundles
from tests.docs.all_lines import PAGES, TOLD, of, words_of
from tests.docs.line_classes import ROWS, rows_for
from tests.docs.reading_pages import LANGUAGES, command_lines, fences, indented_code
from tests.pods import ENGINE, FACTS, REPLAY, ROOT, Pod, clean_environ

from autotune_init.outcomes import REASONS
from cache_store.claim import Claim
from cache_store.objects.open_url import open_store

WHO = bundles.identity().address
WHAT_TO_DO = (
    "no test runs this line. If it is one for a bucket, add it to a row with how='here' in tests/docs/line_classes.py; "
    "else name the test that runs it, or the reason why none can"
)


# -- every line has its class ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES)
def test_code_of_a_page_is_in_fences_that_say_what_it_is(page):
    text = (ROOT / page).read_text()

    assert {fence.language for fence in fences(text)} <= set(LANGUAGES)
    assert list(indented_code(text)) == [], (
        "put it in a fence with a language: nobody can tell what these lines are"
    )


@pytest.mark.parametrize("told", TOLD, ids=str)
def test_somebody_runs_every_line(told):
    rows = rows_for(told)

    assert rows, WHAT_TO_DO
    assert len(rows) == 1, f"more than one row speaks for it: {[row.text for row in rows]}"


def test_every_row_speaks_for_a_line():
    assert [row for row in ROWS if not any(row.fits(told) for told in TOLD)] == []


def test_a_line_that_nobody_runs_would_be_noticed():
    page = "```sh\ncache-store sweep --all\n```\nor `kubectl rollout undo`"

    told = list(command_lines("docs/new.md", page))

    assert [(one.line, one.text) for one in told] == [
        (2, "cache-store sweep --all"),
        (4, "kubectl rollout undo"),
    ]
    assert [rows_for(one) for one in told] == [[], []]


@pytest.mark.parametrize(
    "told", [pytest.param(told, id=str(told)) for told in TOLD if not told.is_prose or "<(" in told.text]
)
def test_bash_can_read_every_line(told):
    done = subprocess.run(["bash", "-n", "-c", told.text], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")


# -- lines that are run elsewhere --------------------------------------------------------------------------------------


@pytest.mark.parametrize("told", of("test"))
def test_the_test_that_runs_a_line_has_it_from_the_page(told):
    (row,) = rows_for(told)
    module = importlib.import_module(row.by.removesuffix(".py").replace("/", "."))
    collected = getattr(module, row.collects)

    assert any(told.text in one for one in (collected() if callable(collected) else collected))


def targets():
    """Target -> what it needs first, of the Makefile."""
    rules = re.findall(
        r"^([a-z][a-z0-9 -]*):([^=\n]*?)(?:##.*)?$", (ROOT / "Makefile").read_text(), re.MULTILINE
    )
    return {name: needs.split() for names, needs in rules for name in names.split()}


def reached(target):
    return {target}.union(*(reached(one) for one in targets().get(target, ()) if one in targets()))


@pytest.mark.parametrize("told", of("gate"))
def test_the_gate_runs_a_target_that_a_page_names(told):
    gate = re.findall(r"^(?:\w+=\S+ )?make ([a-z0-9-]+)", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)

    # .venv/.ready, which all of them need, is what `make setup` is
    assert words_of(told)[1] in set().union({"setup"}, *map(reached, gate))


@pytest.mark.parametrize("told", [one for one in of("nowhere") if one.values[0].text.startswith("make ")])
def test_a_target_that_the_gate_does_not_run_can_be_run(told):
    done = subprocess.run(
        ["make", "--dry-run", *words_of(told)[1:]], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("told", [one for one in of("nowhere") if "python " in one.values[0].text])
def test_a_program_that_cannot_be_run_here_exists_and_knows_its_flags(told):
    words = re.sub(r"^eval |[\"$()]", "", re.sub(r"\s+# .*", "", told.text)).split()[1:]
    name = f"{words[1].replace('.', '/')}" if words[0] == "-m" else words[0]
    path = next(
        one for one in (ROOT / name, ROOT / f"{name}.py", ROOT / name / "__main__.py") if one.is_file()
    )
    source = path.read_text()
    rest = words[2:] if words[0] == "-m" else words[1:]
    says = [word for word in rest if word.startswith("--") or (name == "tools/cluster" and word.isalpha())]

    assert [word for word in says if f'"{word}"' not in source] == []


@pytest.mark.parametrize("told", [one for one in of("nowhere") if one.values[0].text.startswith("pytest ")])
def test_the_tests_that_a_page_names_exist(told):
    words = words_of(told)
    (path,) = (word for word in words if word.startswith("tests/"))
    only = words[words.index("-k") + 1] if "-k" in words else ""
    files = [ROOT / path] if path.endswith(".py") else sorted((ROOT / path).glob("test_*.py"))

    assert files
    assert any(re.search(rf"def test_\w*{only}", file.read_text()) for file in files)


@pytest.mark.parametrize("told", [one for one in of("nowhere") if one.values[0].text.startswith("pip ")])
def test_the_extras_that_a_page_names_exist(told):
    table = (ROOT / "pyproject.toml").read_text().split("[project.optional-dependencies]")[1].split("\n[")[0]

    for extra in re.search(r"\[(.+)\]", told.text)[1].split(","):
        assert re.search(rf"^{extra} = ", table, re.MULTILINE)


# -- lines that are run here -------------------------------------------------------------------------------------------


class Reader:
    """Somebody with a shell, our programs, and a bucket of their own in which one bundle and one failed claim lie."""

    def __init__(self, folder, s3):
        self.folder, self.s3 = folder, s3
        for name in ("examples", "src", "tests", "tools"):
            (folder / name).symlink_to(ROOT / name)
        store = open_store(s3.url, environ=s3.environ)
        claim = Claim(
            state="failed", epoch=1, counter=1, nonce="n", holder="qwen3-0", lease_s=60.0, error="no memory"
        )
        store.put_if_absent(WHO.bundle_key, bundles.bundle().encode())
        store.put_if_absent(WHO.claim_key, claim.encode())
        programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self.environ = clean_environ(
            **s3.environ, PATH=programs, HOME=str(folder), AUTOTUNE_STORE=s3.url, AUTOTUNE_FACTS=str(FACTS),
            AUTOTUNE_CACHE_DIR=str(folder / "cache"), AUTOTUNE_TERMINATION_LOG=str(folder / "log"),
        )  # fmt: skip

    def own(self, text):
        """The line with this reader's names where the page has somebody's."""
        theirs = {
            "s3://models/autotune": self.s3.url,
            "s3://bucket/prefix": self.s3.url,
            "/models/qwen3": "examples/model",
            "ENGINE ARGV...": shlex.join(ENGINE),
            "ENGINE ARGV": shlex.join(ENGINE),
            "ADDRESS": str(WHO),
            "WHY": "seen-slow",
            "SEED": "7",
        }
        for name, own in theirs.items():
            text = text.replace(name, own)
        return text

    def types(self, text):
        """At a terminal, because an operation asks there; the answer is yes."""
        terminal, stdin = pty.openpty()
        os.write(terminal, b"y\n")
        try:
            return subprocess.run(
                ["bash", "-euo", "pipefail", "-c", self.own(text)],
                cwd=self.folder, env=self.environ, stdin=stdin, capture_output=True, text=True, timeout=120, check=False,
            )  # fmt: skip
        finally:
            os.close(terminal)
            os.close(stdin)


@pytest.fixture
def reader(tmp_path, s3):
    folder = tmp_path / "reader"
    folder.mkdir()
    return Reader(folder, s3)


BEFORE = {
    "restore": "cache-store quarantine ADDRESS --reason WHY --yes",
    "import": "cache-store export bundles.tar",
}
HERE = of("here")
OURS = [one for one in HERE if one.values[0].text.startswith("cache-store ")]
POD = [one for one in HERE if one.values[0].text.startswith("autotune-init ")]


@pytest.mark.parametrize("told", OURS)
def test_a_line_for_the_bucket_does_what_it_says(told, reader):
    if before := BEFORE.get(words_of(told)[1]):
        assert reader.types(before).returncode == 0

    done = reader.types(told.text)

    assert done.returncode == 0, done.stderr
    if " gc " in told.text:
        assert done.stderr.endswith("nothing was done, pass --yes\n")
    else:
        assert done.stdout or "export" in told.text or ("verify" in told.text and "1 sound" in done.stderr)


@pytest.mark.parametrize("told", POD)
def test_a_line_for_a_pod_ends_with_a_code_of_the_table(told, reader, tmp_path):
    is_fenced = not told.is_prose
    if is_fenced and " run " in told.text:
        first = Pod(tmp_path / "first", reader.s3.url, tp=2, environ=reader.s3.environ)
        assert first.run("--tuner", "command", "--tuner-command", REPLAY).ending == ("tuned", "published")

    done = reader.types(told.text)

    assert done.returncode in {0} | {code for code, _ in REASONS.values()} - {1, 2}, done.stderr
    assert done.returncode == 0 or "--strict" in told.text or " run" not in told.text, done.stderr
    if " run" in told.text:
        report = json.loads(done.stdout)
        assert report["reason"] not in ("bad-settings", "internal"), report
        assert not is_fenced or (report["outcome"], report["reason"]) == ("hit", "found"), report
    elif is_fenced:
        assert (done.returncode, done.stderr) == (0, "")
        assert "rank_tp0" in done.stdout


@pytest.mark.parametrize("told", [one for one in HERE if one not in OURS and one not in POD])
def test_any_other_line_ends_well(told, reader):
    done = reader.types(told.text)

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("told", of("name"))
def test_a_command_that_is_named_exists_and_knows_the_flags_that_stand_beside_it(told, reader):
    words = words_of(told)
    command = [word for word in words if not word.startswith("-")]

    done = reader.types(shlex.join([*command, "--help"]))

    assert done.returncode == 0, done.stderr
    assert [word for word in words if word.startswith("-") and word not in done.stdout] == []


SYNOPSES = [
    pytest.param(line, id=" ".join(line.split()[:3]))
    for page in PAGES
    for fence in fences((ROOT / page).read_text())
    for line in fence.body.replace("\n    ", " ").splitlines()
    if fence.language == "text" and re.match(r"(autotune-init|cache-store) ", line)
]


@pytest.mark.parametrize("line", SYNOPSES)
def test_a_synopsis_has_no_flag_that_the_command_does_not_know(line, reader):
    (program, *words) = re.sub(r"\[.*?options\]", "", line).split()
    command = [word for word in words if re.fullmatch(r"[a-z]+", word)][:1]

    done = reader.types(shlex.join([program, *command, "--help"]))

    assert done.returncode == 0, done.stderr
    assert [flag for flag in re.findall(r"--[a-z0-9-]+", line) if flag not in done.stdout] == []
