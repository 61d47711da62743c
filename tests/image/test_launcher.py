"""`start run` and its relatives: every way in which a program cannot run, and that the pod starts all the same."""

import json
import os
import shutil
import signal
import subprocess
import time

import pytest
from jsonschema import Draft202012Validator
from tests.image.trees import LOADED, SCHEMA, need


def valid(report):
    Draft202012Validator(SCHEMA).validate(report)
    return report


def same_report(small, done):
    """stdout and the termination message say the same."""
    assert json.loads(small.log.read_text()) == done.report
    return valid(done.report)


def test_the_program_runs_on_python3_with_the_arguments_as_they_are(small):
    done = small.run("run", "--store", "s3://b/p", "--", "sh", "-c", 'a "b" \n')

    assert json.loads(done.stdout) == [
        str(small.root / "bin" / "python3"), "run", "--store", "s3://b/p", "--", "sh", "-c", 'a "b" \n',
    ]  # fmt: skip
    assert done.code == 0


def test_without_any_python_the_pod_starts_and_the_report_names_where_was_looked(small):
    (small.root / "bin" / "python3").unlink()
    (small.root / "bin" / "mount").symlink_to("/bin/mount")

    done = small.run_alone("run")

    assert (done.code, done.ending) == (0, ("skipped", "program-no-python"))
    assert "python3: absent (PATH), python: absent (PATH), /usr/local" in same_report(small, done)["detail"]
    assert small.run_alone("run", "--strict").code == 25


def test_a_python_that_is_named_and_absent_is_passed_over(small):
    done = small.run("run", "--python", "/nowhere/python3")

    assert json.loads(done.stdout)[0] == str(small.root / "bin" / "python3")


@pytest.mark.parametrize("version", ["3.9", "3.8", "2.7"])
def test_an_old_python_is_a_sentence_and_the_next_one_is_tried(small, tree, version):
    old = need(version)
    small.program((tree / "main.py").read_text())

    done = small.run("run", "--python", old, AUTOTUNE_STRICT="1")

    # the next one on PATH is new enough, and this small tree has no modules
    assert done.ending == ("skipped", "program-unloadable")
    assert done.code == 25
    assert f"{old} (--python)" in done.report["detail"]


def test_where_the_only_python_is_old_the_report_says_which_version_was_found(small, tree):
    (small.root / "bin" / "python3").unlink()
    (small.root / "bin" / "python3").symlink_to(need("3.9"))
    (small.root / "bin" / "mount").symlink_to("/bin/mount")
    small.program((tree / "main.py").read_text())

    done = small.run_alone("run")

    assert (done.code, done.ending) == (0, ("skipped", "program-python-version"))
    assert "is Python 3.9." in same_report(small, done)["detail"]


def test_a_program_that_does_not_load_leads_to_the_next_python(small):
    small.program(
        "import os, sys\n"
        "pipe = int(sys.argv[1])\n"
        "os.write(pipe, b'UImportError: no wheel' if 'first' in sys.executable else b'L'); os.close(pipe)\n"
        "print(sys.executable, *sys.argv[2:])\n"
        "sys.exit(25 if 'first' in sys.executable else 0)\n"
    )
    (small.root / "first").mkdir()
    first = small.root / "first" / "python3"
    first.symlink_to(need("3.11"))

    done = small.run("run", "--", str(first), "-m", "sglang.launch_server")

    # the packages of the engine's own Python are what counts, so the program is told of it
    assert done.stdout.splitlines()[-1] == (
        f"{small.root}/bin/python3 run --python {first} -- {first} -m sglang.launch_server"
    )


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("#!{python}\n", "{python}"),
        ("#! {python} -u\n", "{python}"),
        ("#!/usr/bin/env python3.77\n", "{root}/bin/python3.77"),
        ("#!/usr/bin/env -S A=1 python3.77 -u\n", "{root}/bin/python3.77"),
        ("#!/bin/sh\n'''exec' {python} \"$0\" \"$@\"\n' '''\n", "{python}"),
        ("#!/bin/sh\n'''exec' \"{python}\" \"$0\" \"$@\"\n' '''\n", "{python}"),
        ("#!/bin/bash\npython3 -m sglang\n", "{root}/bin/python3"),
        ("#!/bin/sh\nexec /x/python3\n", "{root}/bin/python3"),
        ("\x7fELF no script", "{root}/bin/python3"),
        ("", "{root}/bin/python3"),
    ],
)
def test_the_engines_python_is_the_one_of_the_script_that_it_starts(small, script, expected):
    python = small.root / "venv" / "python3.11"
    python.parent.mkdir()
    python.symlink_to(need("3.11"))
    (small.root / "bin" / "python3.77").symlink_to(need("3.11"))
    small.executable("bin/vllm", script.format(python=python))

    done = small.run("run", "--", "vllm", "serve", "model")

    assert json.loads(done.stdout)[0] == expected.format(root=small.root, python=python)


@pytest.mark.parametrize(
    "command",
    [
        ["{python}", "-m", "sglang.launch_server"],
        ["numactl", "-N", "0", "{python}", "-m", "sglang.launch_server"],
        ["sh", "-c", "export A=1\nexec {python} -m sglang.launch_server"],
        ["bash", "-lc", "  '{python}' -m vllm"],
    ],
)
def test_the_engines_python_is_found_behind_wrappers_and_in_shell_lines(small, command):
    python = small.root / "venv" / "python3.11"
    python.parent.mkdir()
    python.symlink_to(need("3.11"))

    done = small.run("run", "--", *[word.format(python=python) for word in command])

    assert json.loads(done.stdout)[0] == str(python)


def test_a_program_that_dies_of_a_signal_is_reported_and_the_pod_starts(small):
    small.program(LOADED + "os.kill(os.getpid(), signal.SIGSEGV)")

    done = small.run("run")

    assert (done.code, done.ending) == (0, ("skipped", "program-crashed"))
    assert "signal 11" in same_report(small, done)["detail"]
    assert small.run("run", "--strict").code == 25


def test_a_python_that_dies_before_the_program_has_loaded_is_passed_over(small):
    small.executable("broken/python3", "#!/bin/sh\nkill -SEGV $$\n")

    done = small.run("run", "--python", str(small.root / "broken" / "python3"))

    assert json.loads(done.stdout)[0] == str(small.root / "bin" / "python3")


def test_a_python_that_the_kernel_kills_before_the_program_has_loaded_is_not_followed_by_another(small):
    small.executable("greedy/python3", "#!/bin/sh\nkill -9 $$\n")

    done = small.run("run", "--python", str(small.root / "greedy" / "python3"))

    assert (done.code, done.ending) == (0, ("skipped", "program-crashed"))
    assert "out of memory?" in done.report["detail"]


@pytest.mark.parametrize("content", ["\x7fELF", "#!/nowhere/interpreter\n"])
def test_what_cannot_be_executed_is_passed_over(small, content):
    bad = small.executable("broken/python3", content)

    assert json.loads(small.run("run", "--python", bad).stdout)[0] == str(small.root / "bin" / "python3")


@pytest.mark.parametrize("command", ["key", "facts"])
def test_key_and_facts_say_it_on_stderr_and_in_the_exit_code(small, command):
    (small.root / ".complete").unlink()

    done = small.run(command)

    assert (done.code, done.stdout) == (25, "")
    assert "program-unloadable" in done.stderr


@pytest.mark.parametrize(
    ("strict", "expected"), [("", 0), ("0", 0), ("no", 0), ("1", 7), ("ON", 7), ("True", 7)]
)
def test_the_programs_exit_code_is_passed_on_only_where_it_is_asked_for(small, strict, expected):
    small.program(LOADED + "sys.exit(7)")

    done = small.run("run", AUTOTUNE_STRICT=strict)

    assert done.code == expected
    if not expected:
        assert done.ending == ("skipped", "program-crashed")


def test_key_passes_its_exit_code_on(small):
    small.program(LOADED + "sys.exit(17)")

    assert small.run("key").code == 17


def test_words_behind_the_dashes_are_the_engines(small):
    small.program(LOADED + "sys.exit(7)")

    assert small.run("run", "--", "python3", "--strict").code == 0


def test_sigterm_reaches_the_program_which_ends_as_it_wants(small):
    small.program(
        LOADED
        + "signal.signal(signal.SIGTERM, lambda *_: (print('told'), sys.stdout.flush(), os._exit(0)))\n"
        "sys.stderr.write('ready'); sys.stderr.flush(); time.sleep(30)"
    )
    (small.root / "attempts").mkdir()
    process = small.start("run")
    assert process.stderr.read(5) == "ready"

    process.send_signal(signal.SIGTERM)
    stdout, _ = process.communicate(timeout=10)

    assert (process.returncode, stdout) == (0, "told\n")
    assert small.attempts() == ["1.ended"]


def test_sigterm_before_the_program_listens_is_no_crash(small):
    small.program("import sys, time\nsys.stderr.write('ready'); sys.stderr.flush(); time.sleep(30)")
    process = small.start("run")
    assert process.stderr.read(5) == "ready"

    process.send_signal(signal.SIGTERM)
    stdout, _ = process.communicate(timeout=10)

    assert process.returncode == 0
    assert (json.loads(stdout)["outcome"], json.loads(stdout)["reason"]) == ("cold", "terminated")
    valid(json.loads(stdout))


def test_a_program_that_outlives_its_deadline_is_ended_with_its_group(small, hasty, tmp_path):
    shutil.copy2(hasty, small.root / "start")
    small.program(
        LOADED + "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"import subprocess; subprocess.Popen(['/bin/sleep', '77'], cwd={str(tmp_path)!r})\n"
        "time.sleep(300)"
    )
    began = time.monotonic()
    done = small.run("run", "--deadline", "0.5")

    assert (done.code, done.ending) == (0, ("skipped", "program-crashed"))
    assert "had not ended after 2 s" in same_report(small, done)["detail"]
    assert 2.4 < time.monotonic() - began < 8
    left = [
        pid
        for pid in os.listdir("/proc")
        if pid.isdigit()
        and os.path.exists(f"/proc/{pid}/cwd")
        and os.readlink(f"/proc/{pid}/cwd") == str(tmp_path)
    ]
    assert left == []


def test_an_attempt_that_was_killed_is_not_repeated(small):
    """given a kill of everything (cgroup OOM) when the container starts again then the pod goes on, cold."""
    (small.root / "attempts").mkdir(mode=0o1777)
    small.program(LOADED + "sys.stderr.write('%7d' % os.getpid()); sys.stderr.flush(); time.sleep(30)")
    process = small.start("run")
    child = int(process.stderr.read(7))
    process.kill()
    os.kill(child, signal.SIGKILL)
    process.communicate()
    assert small.attempts() == ["1.started"]

    again = small.run("run")

    assert (again.code, again.ending) == (0, ("skipped", "program-killed-before"))
    assert "attempt 1" in same_report(small, again)["detail"]
    assert small.run("run", "--strict").code == 25
    assert small.attempts() == ["1.started"]


def test_a_good_end_leaves_nothing_that_stops_the_next_one(small):
    (small.root / "attempts").mkdir()

    endings = [small.run("run").code for _ in range(3)]

    assert endings == [0, 0, 0]
    assert small.attempts() == ["1.ended", "2.ended", "3.ended"]


def test_an_attempt_that_runs_beside_us_was_not_killed(small):
    (small.root / "attempts").mkdir()
    small.program(
        LOADED
        + "sys.stderr.write('ready'); sys.stderr.flush(); sys.stdin.read(1) if 'wait' in sys.argv else None; print(1)"
    )
    first = subprocess.Popen(
        small.command("run", "wait"),
        env=small.env(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert first.stderr.read(5) == "ready"

    assert small.run("run").stdout == "1\n"
    assert small.attempts() == ["1.started", "2.ended"]
    first.communicate("x", timeout=10)
    assert small.attempts() == ["1.ended", "2.ended"]


def test_attempts_that_cannot_be_kept_are_no_reason_to_stop(small):
    (small.root / "attempts").symlink_to("/nowhere")

    assert small.run("run").code == 0


@pytest.mark.parametrize(
    "word", [b"\xff\xfe", b'q"\\', b"\x01\n\t", "\u00fc\U00010348".encode(), b"\xed\xa0\x80", b"x" * 9000]
)
def test_hostile_words_still_make_a_valid_report(small, word):
    (small.root / ".complete").touch()
    small.program("import os, sys\nos.write(int(sys.argv[1]), b'U' + os.environb[b'SAID']); sys.exit(25)")
    name = os.fsencode(small.root) + b"/no" + word + b"/python3"
    environ = {**{os.fsencode(k): os.fsencode(v) for k, v in small.env().items()}, b"SAID": word}

    done = subprocess.run(
        [small.root / "start", b"run", b"--", name], env=environ, capture_output=True, check=False
    )

    assert done.returncode == 0
    report = valid(json.loads(done.stdout))
    assert report["reason"] == "program-unloadable"
    assert len(done.stdout) < 4096
    assert json.loads(small.log.read_bytes()) == report


def test_a_report_needs_no_termination_log(small):
    small.program(LOADED + "os.kill(os.getpid(), 9)")
    small.log.unlink()

    assert small.run("run").ending == ("skipped", "program-crashed")
    assert not small.log.exists()


def test_wrong_usage_is_a_sentence(small):
    for words in ((), ("nonsense",), ("copy",), ("copy", "a", "b")):
        done = small.run(*words)
        assert done.code == 2
        assert "usage: start copy DIR" in done.stderr


def test_the_launcher_needs_no_libc_and_no_proc(small):
    """A static executable: it has no program interpreter."""
    done = subprocess.run(
        ["readelf", "-l", small.root / "start"], capture_output=True, check=False, text=True
    )

    assert done.returncode == 0
    assert "INTERP" not in done.stdout
