"""The real program as a process, over a directory and over HTTP."""

import json
import os
import pty
import signal
import subprocess
import sys
import time

import pytest
from tests.bundles import bundle, identity
from tests.cli.conftest import check_document
from tests.pods import ROOT, clean_environ

from cache_store.claim import Claim
from cache_store.objects.open_url import open_store

COMMANDS = {"ls": [], "verify": [], "claims": [], "doctor": [], "show": [str(identity().address)]}


@pytest.fixture
def directory(tmp_path):
    """A store in a directory with a bundle, a claim and something corrupt."""
    store = open_store(tmp_path.as_uri(), environ={})
    address = identity().address
    claim = Claim(state="held", epoch=1, counter=1, nonce="n", holder="pod-a", lease_s=60.0)
    store.put_if_absent(address.bundle_key, bundle().encode())
    store.put_if_absent(address.claim_key, claim.encode())
    store.put_if_absent(identity(key="b" * 16).address.bundle_key, b"{\x1b[31m")
    return tmp_path


@pytest.fixture
def start():
    """Starts the program; none outlives its test."""
    started = []

    def start(*args, stdout=subprocess.PIPE, environ=None, **options):
        process = subprocess.Popen(
            [sys.executable, "-m", "cache_store.cli", *args],
            cwd=ROOT,
            env=clean_environ(**(environ or {})),
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_every_command_over_a_directory(start, directory):
    started = {
        command: start(command, *COMMANDS[command], "--store", directory.as_uri(), "--json")
        for command in COMMANDS
    }
    ended = {
        command: (*process.communicate(timeout=60), process.returncode)
        for command, process in started.items()
    }

    assert {command: done[2] for command, done in ended.items()} == {
        "ls": 0,
        "verify": 13,
        "claims": 0,
        "doctor": 0,
        "show": 0,
    }
    documents = {command: check_document(json.loads(done[0])) for command, done in ended.items()}
    assert [row["state"] for row in documents["ls"]["bundles"]] == ["published", "unreadable"]
    assert documents["verify"]["counts"] == {
        "sound": 1,
        "corrupt": 1,
        "unknown": 0,
        "unread": 0,
        "missing": 0,
    }
    assert documents["claims"]["claims"][0]["verdict"] == "held"
    assert documents["doctor"]["class"] == "full"
    assert [done[1] for done in ended.values()] == [""] * 5


def test_the_store_of_a_real_s3_server(start, s3):
    store = open_store(s3.url, environ=s3.environ)
    store.put_if_absent(identity().address.bundle_key, bundle().encode())
    store.put_if_absent("stray", b"x")
    commands = {
        "ls": ["--flashinfer", "0.7.2", "--arch", "sm90", "--key", "01"],
        "verify": [],
        "show": ["0123"],
        "doctor": ["--race", "--race-rounds", "1"],
    }
    started = {
        command: start(command, *flags, "--json", environ={**s3.environ, "AUTOTUNE_STORE": s3.url})
        for command, flags in commands.items()
    }
    documents = {
        command: check_document(json.loads(process.communicate(timeout=120)[0]))
        for command, process in started.items()
    }

    assert [row["state"] for row in documents["ls"]["bundles"]] == ["published"]
    assert documents["verify"]["counts"]["sound"] == 1
    assert documents["show"]["state"] == "published"
    assert (documents["doctor"]["class"], documents["doctor"]["policy"]) == ("full", None)
    assert documents["doctor"]["race"]["rounds"] == 1
    assert [entry.key for entry in store.list(".probe/")] == []


def test_what_ls_remembers_of_a_real_s3_server_ends_with_the_etag(start, s3, tmp_path):
    store = open_store(s3.url, environ=s3.environ)
    store.put_if_absent(identity().address.bundle_key, bundle().encode())
    store.put_if_absent(
        identity(key="b" * 16).address.bundle_key, bundle(who=identity(key="b" * 16)).encode()
    )
    environ = {**s3.environ, "AUTOTUNE_STORE": s3.url, "XDG_CACHE_HOME": str(tmp_path)}

    def states():
        told = start("ls", "--json", environ=environ).communicate(timeout=60)[0]
        return [row["state"] for row in check_document(json.loads(told))["bundles"]]

    assert states() == ["published", "published"]
    (file,) = (tmp_path / "autotune-cache").iterdir()
    assert len(file.read_text().splitlines()) == 3  # the server's listing told ETags: both are known
    # had they been read again, the word that stands there now would not be believed
    file.write_text(file.read_text().replace('["published"', '["quarantined"'))
    assert states() == ["quarantined", "quarantined"]

    gone = start("retire", "bbbb", "--reason", "test", "--yes", environ=environ)
    assert gone.wait(timeout=60) == 0
    assert states() == ["quarantined", "tombstone"]


def test_the_variable_a_directory_that_is_not_there_and_no_command(start, tmp_path):
    gone = start("ls", "--json", environ={"AUTOTUNE_STORE": (tmp_path / "gone").as_uri()})
    nothing = start()

    assert check_document(json.loads(gone.communicate(timeout=60)[1]))["error"]["kind"] == "store-not-found"
    assert gone.returncode == 10
    assert "Missing command" in nothing.communicate(timeout=60)[1]
    assert nothing.returncode == 2


def test_a_reader_that_leaves_and_a_narrow_encoding(start, directory):
    read_end, write_end = os.pipe()
    os.close(read_end)
    left = start("verify", "--store", directory.as_uri(), stdout=write_end)
    narrow = start("ls", "--store", directory.as_uri(), environ={"PYTHONIOENCODING": "ascii"})
    os.close(write_end)

    stderr = left.communicate(timeout=60)[1]
    assert left.returncode == 13, "the verdict counts, whoever reads the answer"
    assert "Traceback" not in stderr
    assert "BrokenPipe" not in stderr
    assert narrow.communicate(timeout=60)[0].startswith("ADDRESS")


def test_a_terminal_gets_a_tree(start, directory):
    main, side = pty.openpty()
    process = start("ls", "--long", "--store", directory.as_uri(), stdout=side, environ={"TERM": "dumb"})
    os.close(side)
    seen = b""
    try:
        while chunk := os.read(main, 65536):
            seen += chunk
    except OSError:  # EIO: the other side is closed
        pass
    process.communicate(timeout=60)
    os.close(main)

    assert process.returncode == 0
    assert "0.7.2/sm90" in seen.decode()
    assert "└" in seen.decode()
    assert "tuned by pod-a" in seen.decode(), (
        "a row that is longer than the terminal goes on in the next line"
    )


@pytest.mark.parametrize("adapter", ["obstore", "fsspec"])
def test_control_c_while_the_store_hangs(start, stub, adapter):
    """obstore minds the signal by itself; s3fs sits in its thread until the request's time is over."""
    stub.fault = "hang"
    process = start(
        "ls",
        "--json",
        "--store",
        "s3://b/p",
        "--timeout",
        "25",
        "--adapter",
        adapter,
        environ=stub.environ,
        start_new_session=True,
        # a shell starts what it puts in the background with SIGINT ignored, and the suite may be such a job
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while not stub.requests:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    began = time.monotonic()
    os.kill(process.pid, signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)

    assert (process.returncode, stdout) == (130, "")
    assert check_document(json.loads(stderr))["error"]["kind"] == "interrupted"
    assert time.monotonic() - began < 10, "it must not wait for the request's own 25 s"


@pytest.mark.parametrize("command", ["ls", "verify", "show --help", "completion bash"])
@pytest.mark.parametrize("redirect", ["", ">&-", "<&- >&- 2>&-", ">/dev/full"])
def test_given_no_stdout_when_run_then_it_ends_without_a_traceback(directory, command, redirect):
    line = f"{sys.executable} -m cache_store.cli --store {directory.as_uri()} {command} {redirect}"

    done = subprocess.run(
        ["sh", "-c", line], cwd=ROOT, env=clean_environ(), capture_output=True, text=True, check=False
    )

    assert "Traceback" not in done.stderr
    expected = 16 if redirect == ">/dev/full" else {"verify": 13}.get(command, 0)
    assert done.returncode == expected


def test_given_control_c_while_modules_are_imported_then_130_and_no_traceback(directory):
    program = (
        "import sys, runpy\n"
        "class Finder:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'cache_store.cli.app': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Finder())\n"
        "runpy.run_module('cache_store.cli', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=clean_environ(),
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (130, "cache-store: error: interrupted\n")


def test_without_click_it_says_what_to_install(directory):
    program = "import sys; sys.modules['click'] = None; import runpy; runpy.run_module('cache_store.cli', run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=clean_environ(),
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 2
    assert done.stderr == "cache-store needs click: pip install 'autotune-cache[cli]'\n"


def test_rich_is_not_imported_for_a_pipe(directory):
    program = (
        "import sys; from cache_store.cli.app import run;"
        f"code = run(['ls', '--store', {directory.as_uri()!r}], {{}});"
        "print(code, 'rich' in sys.modules, 'obstore' in sys.modules, 'fsspec' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stderr == "0 False False False\n"
