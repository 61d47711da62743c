"""Shell lines against the real shells: what is read is what dash and bash start, or the line is refused."""

import json
import os
import shutil
import string
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from autotune_init.engines.command_line import Unreadable, read_command
from autotune_init.engines.shell_words import NAME

# bash that is called sh is a POSIX shell, as in images of the Red Hat family
SHELLS = {"sh": ("dash", "bash"), "bash": ("bash",)}
ENVIRON = {
    "EMPTY": "", "WORD": "org/model", "TWO": "a  b", "EDGES": " x\ty\n", "FLAG": "--tp 8 --trust-remote-code",
    "QUOTED": "it's \"q\" \\ $WORD", "STAR": "*", "JSON": '{"a":[1,2]}', "TILDE": "~",
}  # fmt: skip
# the shells' own (the recording program is one too), and stdbuf's
OWN = {"PWD", "OLDPWD", "SHLVL", "_", "IFS", "LD_PRELOAD", "_STDBUF_I", "_STDBUF_O", "_STDBUF_E"}
RECORDER = """#!/bin/sh
{ printf '%s\\0' "$@"; printf '\\1\\0'; exec /usr/bin/env -0; } >> "@FILE@"
"""


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    """A directory where `sglang` writes down how it was started."""
    folder = tmp_path_factory.mktemp("shells")
    (folder / "bin").mkdir()
    (folder / "work").mkdir()
    program = folder / "bin" / "sglang"
    program.write_text(RECORDER.replace("@FILE@", str(folder / "record")))
    program.chmod(0o755)
    return folder


def started(stage: Path, program: str, shell: str, line: str, arguments, environ):
    """(argv behind `sglang serve`, environment), as the shell itself starts it."""
    record = stage / "record"
    record.unlink(missing_ok=True)
    for left in (stage / "work").iterdir():
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    done = subprocess.run(
        [shell, "-c", line, *arguments],
        executable=shutil.which(program),
        env=environ,
        cwd=stage / "work",
        capture_output=True,
        check=False,
        timeout=20,
    )
    assert record.exists(), (program, line, done)
    return recorded(record)


def recorded(record: Path):
    words, _, after = record.read_bytes().partition(b"\1\0")
    assert b"\1\0" not in after, "started twice"
    argv = [word.decode() for word in words.split(b"\0")[:-1]]
    pairs = (entry.decode().partition("=") for entry in after.split(b"\0")[:-1])
    assert argv[0] == "serve"
    return argv[1:], {name: text for name, _, text in pairs if name not in OWN}


def agree(stage: Path, shell: str, line: str, arguments=(), environ=ENVIRON) -> bool:
    """Whether the line was read; fails where a shell does something else."""
    environ = {**environ, "PATH": f"{stage / 'bin'}:/usr/bin:/bin"}
    try:
        read = read_command((shell, "-c", line, *arguments), environ, None)
    except Unreadable:
        return False
    for real in SHELLS[shell]:
        argv, environment = started(stage, real, shell, line, arguments, environ)
        assert list(read.argv) == argv, (real, line)
        # the recorder is a script, and a shell does not hand on what is no name to it (`env ]=x` makes one)
        wanted = {
            name: text for name, text in read.environ.items() if name not in OWN and NAME.fullmatch(name)
        }
        assert wanted == environment, (real, line)
    return True


many = settings(
    max_examples=int(os.environ.get("SHELL_EXAMPLES", "250")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
shells = st.sampled_from(sorted(SHELLS))

FRAGMENTS = (
    " ", " ", " ", "  ", "\t", "\n", "\\\n", "'", '"', "'a b'", '"a b"', "\\", "\\ ", "\\$", "\\\\", "$", "$$", "$'", '$"', "${",
    "}", "{", "{a,b}", "#", " #", ";", "; ", "&&", " && ", "&", "|", "||", "<", ">", ">f", " >f", " 2>&1", " 2>f", ">>f", "2", "1>&2",
    "(", ")", "`", "$(", "=", "A=", "A=b ", "a", "b", "--x", "-", "--", "~", "*", "?", "[", "]", "!", ":", ",", "%", "^", "@", "+", "é",
    "$WORD", "$TWO", "$EDGES", "$EMPTY", "$QUOTED", "$JSON", "$STAR", "$UNSET", "$A", "${A}", "${WORD}", '"$TWO"', '"$EDGES"',
    '"$@"', "$@", '"$1"', "$1", "$0", "${2}", "$#", "$?", "${UNSET:-}", "${UNSET:-a b}", "${EMPTY:-x}", "${EMPTY-x}", "${TWO:+ y z }",
    "${UNSET:+z}", "${WORD:?no}", '"${UNSET:-a b}"', "${UNSET:-$TWO}", "${UNSET:-${EDGES}}", "${WORD#o}", "${#WORD}", "${TERM:-x}", "${SHELL-y}", "${HOSTNAME:+z}", "export ",
    "export A=", "export A=c; ", "unset WORD; ", "set -e; ", "cd /tmp && ", "cd sub; ", "exec ", "sglang serve ", "echo a; ", "true && ",
    "env ", "env -u WORD ", "env B=1 ", "nice -n 1 ", "timeout 9 ", "if", "then", "done", "time ", "$'a\\tb\\''", "IFS=, ", "in ", "\r", "\x7f",
)  # fmt: skip


@many
@given(shell=shells, before=st.lists(st.sampled_from(FRAGMENTS), max_size=3),
       after=st.lists(st.sampled_from(FRAGMENTS), max_size=10),
       arguments=st.lists(st.sampled_from(["", "a b", "--x", "$WORD", "*"]), max_size=3))  # fmt: skip
@example(shell="sh", before=[], after=["$TWO", '""'], arguments=[])
def test_a_heap_of_shell_is_read_as_shells_read_it_or_refused(stage, shell, before, after, arguments):
    agree(stage, shell, "".join(before) + "sglang serve " + "".join(after), arguments)


texts = st.text(st.sampled_from("ab$\"'\\ \t\n#;&|<>()*?[]{}~!=%é`,-/"), max_size=6)


def single(text):
    return "'" + text.replace("'", "'\\''") + "'"


def double(text):
    return '"' + "".join("\\" + mark if mark in '$`"\\' else mark for mark in text) + '"'


def escaped(text):
    return "".join(single(mark) if mark == "\n" else "\\" + mark for mark in text) or "''"


plain = st.text(st.sampled_from("abcXYZ0189_-./:=,%@+"), min_size=1, max_size=6)
quoted = st.one_of(texts.map(single), texts.map(double), texts.map(escaped))
references = st.sampled_from([
    "${WORD}", "${TWO}", "${EDGES}", "${EMPTY}", '"$TWO"', '"${EDGES}"', '"$QUOTED"', '"$STAR"', '"$JSON"', "${EMPTY:-a b}",
    "${UNSET:-d}", '"${UNSET:-a  b}"', "${UNSET:-$TWO}", "${TWO:+ y z }", "${WORD:?must be there}", "${FLAG}", "${EMPTY-x}",
])  # fmt: skip
words = st.one_of(
    st.lists(st.one_of(plain, quoted, references), min_size=1, max_size=4).map("".join),
    st.sampled_from(["$WORD", "$TWO", "$EDGES", "$EMPTY", "$FLAG"]),
)
gaps = st.sampled_from([" ", "  ", "\t", " \\\n  ", " \\\n"])
starts = st.sampled_from([
    "", "exec ", "set -e\n", "set -ex; exec ", "set -eo errexit\n", "export A='b c' && ", "export A=1 B=2\n# why\n\n", "A=1; ",
    "export WORD=${WORD}; ", 'NEW="$TWO"; export NEW; ', "unset WORD TWO\nexport TWO='p q' WORD=o EXTRA; ", "EMPTY=full ", "unset TILDE; TILDE=x; ",
    "ulimit -n 64; exec ", "echo it is $TWO >log 2>&1; ", "mkdir -p sub && cd sub && ", "true && ", "date >/dev/null; umask 022; ",
    "exec env -u TILDE B=2 ", "nice -n 1 timeout 60 ", "exec setsid -w stdbuf -oL ", "B=$WORD C='' exec ",
])  # fmt: skip
ends = st.sampled_from(
    ["", " ", "\n", ";", " ; echo over", " >log", " 2>&1", " >>log 2>&1", " # comment", " && true\n"]
)


@many
@given(shell=shells, start=starts, line=st.lists(st.tuples(gaps, words), max_size=6), end=ends)
def test_what_people_write_is_read_and_read_alike(stage, shell, start, line, end):
    written = start + "sglang serve" + "".join(gap + word for gap, word in line) + end

    assert agree(stage, shell, written)


MARKS = [
    *string.punctuation,
    *(chr(code) for code in range(1, 33)),
    "a",
    "0",
    "\x7f",
    "é",
    "\u3000",
    "\u0085",
    "\u00a0",
]
PLACES = ["a{}b", "{}", "a {}", "'{}'", '"{}"', "\\{}", '"\\{}"', "${}", '"${}"', "a{}= b", "{}>f"]


@pytest.mark.parametrize("shell", sorted(SHELLS))
@pytest.mark.parametrize("place", PLACES)
def test_every_character_in_every_place(stage, shell, place):
    for mark in MARKS:
        agree(stage, shell, "sglang serve " + place.format(mark))


@pytest.mark.parametrize(
    "words",
    [
        ["env", "A=b", "C="],
        ["env", "-u", "WORD", "-uTWO", "--unset=FLAG", "--", "A=b=c"],
        ["env", "-i", "PATH=/usr/bin:/bin", "A=b"],
        ["env", "-", "PATH=/usr/bin:/bin"],
        ["env", "--ignore-environment", "--unset", "X"],
        ["nice"],
        ["nice", "-n", "5"],
        ["nice", "-n5", "--adjustment=1"],
        ["nohup"],
        ["nohup", "--"],
        ["timeout", "9"],
        ["timeout", "-k", "5", "--signal=TERM", "--foreground", "1m"],
        ["timeout", "-k5", "-s", "KILL", "--preserve-status", "--", "9"],
        ["stdbuf", "-oL", "-e", "0", "--input=0"],
        ["setsid", "-w"],
        ["setsid", "--wait", "--"],
        ["ionice", "-t", "-c2", "-n", "7"],
        ["ionice", "--class", "2", "--ignore"],
        ["taskset", "-c", "0-1023"],
        ["taskset", "-ac", "0-1023"],
        ["taskset", "--all-tasks", "ffffffff"],
        ["env", "A=b", "timeout", "9", "nice", "-n", "1"],
        ["timeout", "9", "sh", "-ec", 'exec "$@"', "start"],
    ],
    ids=ascii,
)
def test_a_wrapper_starts_what_we_say_it_starts(stage, words):
    environ = {**ENVIRON, "PATH": "/usr/bin:/bin"}
    program = [*words, str(stage / "bin" / "sglang"), "serve", "--x", "a b", "--", "-n", "A=b"]
    read = read_command(program, environ, None)
    record = stage / "record"
    record.unlink(missing_ok=True)
    subprocess.run(
        program,
        env=environ,
        cwd=stage / "work",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
        timeout=20,
    )
    argv, environment = recorded(record)

    assert list(read.argv) == argv
    assert {name: text for name, text in read.environ.items() if name not in OWN} == environment


@pytest.mark.parametrize(
    "options",
    [["-m", "sglang.launch_server"], ["-u", "-B", "-Xdev", "-m", "sglang.launch_server"], ["-uW", "ignore", "-msglang.launch_server"],
     ["-X", "utf8", "-OOum", "sglang.launch_server"], ["--check-hash-based-pycs", "never", "-sS", "-m", "sglang.launch_server"]],
    ids=ascii,
)  # fmt: skip
def test_pythons_own_options_are_read_as_python_reads_them(tmp_path, options):
    (tmp_path / "sglang").mkdir()
    (tmp_path / "sglang" / "launch_server.py").write_text("import json, sys; print(json.dumps(sys.argv[1:]))")
    command = [sys.executable, *options, "--model-path", "-m", "-X", "x", "--"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True, timeout=20)

    assert list(read_command(command, {}, None).argv) == json.loads(done.stdout)


def test_a_variable_that_is_no_name_to_a_shell_still_reaches_the_engine():
    read = read_command(("bash", "-c", "env ]IFS=, sglang serve"), {}, None)

    assert read.environ == {"]IFS": ","}
