"""Completion: the scripts are shell, and what they ask for is answered."""

import os
import shutil
import subprocess
import sys

import pytest
from tests.pods import ROOT


def ask(words, number, shell="bash", **more):
    environ = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT / "src"),
        "COMP_WORDS": words,
        "COMP_CWORD": str(number),
        "_CACHE_STORE_COMPLETE": f"{shell}_complete",
        **more,
    }
    command = [sys.executable, "-m", "cache_store.cli"]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize(
    ("words", "number", "answers"),
    [
        ("cache-store ver", 1, ["plain,verify"]),
        ("cache-store completion ", 2, ["plain,bash", "plain,zsh", "plain,fish"]),
        ("cache-store verify --rep", 2, ["plain,--repair"]),
        ("cache-store --store s3://models/x ls --state quar", 5, ["plain,quarantined"]),
        ("cache-store nothing ", 2, None),
    ],
)
def test_words_are_completed_without_a_store(words, number, answers):
    done = ask(words, number)

    assert done.returncode == 0
    assert done.stderr == ""
    assert answers is None or done.stdout.split() == answers


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script(shop, shell):
    done = shop("completion", shell)

    assert done.code == 0
    assert "_CACHE_STORE_COMPLETE" in done.stdout
    assert shop.requests == {}
    assert shop("completion", shell, "--json").document["script"] == done.stdout


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_takes_the_script_and_uses_it(shop, tmp_path):
    (tmp_path / "cache-store").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m cache_store.cli "$@"\n')
    (tmp_path / "cache-store").chmod(0o755)
    script = shop("completion", "bash").stdout + (
        '\nCOMP_WORDS=(cache-store quar) COMP_CWORD=1\n_cache_store_completion cache-store\necho "${COMPREPLY[@]}"\n'
    )
    environ = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT / "src")}

    done = subprocess.run(["bash", "-c", script], env=environ, capture_output=True, text=True, check=False)

    assert (done.stdout, done.returncode) == ("quarantine\n", 0)


def test_given_an_unknown_instruction_when_asked_then_it_fails_and_says_nothing_wrong():
    assert ask("cache-store v", 1, shell="tcsh").returncode == 1


def test_an_unknown_shell_is_wrong_usage(shop):
    assert shop("completion", "tcsh").code == 2
