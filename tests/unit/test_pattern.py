"""Every pattern compiles, though none does before it is used."""

import importlib
import pkgutil
import re
import subprocess
import sys

import pytest

import autotune_init
import cache_store
from cache_store.pattern import Pattern, pattern


def lazy_ones():
    for package in (autotune_init, cache_store):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if ".inside" in found.name or ".testing" in found.name or found.name.endswith("__main__"):
                continue  # programs for the engine's Python; not part of a start
            for name, value in vars(importlib.import_module(found.name)).items():
                if isinstance(value, Pattern):
                    yield f"{found.name}.{name}", value


@pytest.mark.parametrize(("where", "lazy"), [pytest.param(*one, id=one[0]) for one in lazy_ones()])
def test_each_compiles_and_is_what_it_stands_for(where, lazy):
    assert isinstance(lazy.pattern, (str, bytes))
    assert repr(lazy) == repr(re.compile(lazy.pattern, lazy.flags))


def test_there_are_some():
    assert len(list(lazy_ones())) > 30


def test_it_answers_as_the_pattern_does():
    lazy = pattern(r"(?P<a>x+)\Z", re.IGNORECASE)

    assert lazy.match("XX")["a"] == "XX"
    assert lazy.match("y") is None
    assert lazy.sub("-", "1x") == "1-"
    assert pattern(rb"\d").findall(b"1 2") == [b"1", b"2"]


def test_a_wrong_one_fails_when_it_is_used():
    wrong = pattern("(")

    with pytest.raises(re.error):
        wrong.match("")


def test_a_start_compiles_none():
    code = (
        "import re\nreal, seen = re.compile, []\n"
        "re.compile = lambda text, flags=0: seen.append(text) or real(text, flags)\n"
        "import autotune_init.pod, autotune_init.workload, cache_store.objects.obstore_cloud\n"
        "import sys; sys.exit(repr(seen) if seen else 0)"
    )
    # whatever Python's own modules compile is compiled before
    first = "import json, urllib.parse, email, typing, pathlib, obstore, textwrap, string\n"
    done = subprocess.run([sys.executable, "-c", first + code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
