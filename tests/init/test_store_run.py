"""FlashInfer's own store through real processes on a directory store, with a command that writes entries itself.

test_flashinfer_store_run.py has the same with FlashInfer's real code.
"""

import json
import shlex
import sys

import pytest
from tests.bundles import H100
from tests.pods import Pod
from tests.unit.test_store_entries import KEY, NAME, entry

from autotune_init.engines.flashinfer_store import env_hash
from cache_store.store_entries import entry_name

HASH = env_hash(H100)
WRITES = """
import os, pathlib, sys
root, environment, *pairs = sys.argv[1:]
folder = pathlib.Path(root.format(**os.environ)) / "v2" / environment / "entries"
folder.mkdir(parents=True)
for name, body in zip(pairs[::2], pairs[1::2]):
    (folder / name).write_text(body)
"""
SCRATCH = "{FLASHINFER_AUTOTUNE_CACHE_DIR}"


def writing(*files, environment=HASH, root=SCRATCH):
    words = [part for name, body in files for part in (name, body.decode())]
    command = shlex.join([sys.executable, "-S", "-c", WRITES, root, environment, *words])
    return ("--tuner", "command", "--tuner-command", command)


@pytest.fixture
def pod(tmp_path):
    (tmp_path / "store").mkdir()
    facts = {"gpu": {"name": H100["gpu"], "capability": [9, 0]}, "packages": {}, "metadata": H100}
    (tmp_path / "facts.json").write_text(json.dumps(facts))

    def make(name, *flags):
        return Pod(
            tmp_path / name,
            (tmp_path / "store").as_uri(),
            facts=tmp_path / "facts.json",
            flags=("--engine", "flashinfer", *flags),
            engine=("vllm", "serve", "model"),
        )

    return make


def test_miss_tune_publish_hit_with_one_request(pod):
    tuned = pod("a").run(*writing((NAME, entry())))
    hit = pod("b").run()

    assert tuned.ending == ("tuned", "published"), tuned.stderr
    assert hit.ending == ("hit", "found"), hit.stderr
    assert hit.report["requests"] == 1
    assert hit.report["ranks"] == []
    assert set(pod("b").files()) == {f"v2/{HASH}/manifest.json", f"v2/{HASH}/entries/{NAME}"}
    assert pod("b").files() == pod("a").files()


def test_a_pod_whose_root_has_everything_still_asks(pod):
    """Nobody can know what the engine will need, so there is no local short cut."""
    pod("a").run(*writing((NAME, entry())))
    pod("b").run()

    again = pod("b").run()

    assert again.ending == ("hit", "found")
    assert again.report["requests"] == 1


def test_another_command_line_tunes_its_own_and_both_share_a_root(pod):
    pod("a").run(*writing((NAME, entry())))
    other = KEY.replace("64", "128")
    tuned = pod("a", "--field", "workload=other").run(*writing((entry_name(other), entry(other))))

    assert tuned.ending == ("tuned", "published"), tuned.stderr
    assert {path.rpartition("/")[2] for path in pod("a").files()} == {
        "manifest.json",
        NAME,
        entry_name(other),
    }


@pytest.mark.parametrize(
    ("tuner", "reason"),
    [
        (writing(("evil.json", entry())), "tuner-bad-file"),
        (writing((NAME, entry(KEY.replace("64", "65")))), "tuner-bad-file"),
        (writing((NAME, entry()), environment="0123456789abcdef"), "tuner-wrote-nothing"),
        (writing((NAME, entry()), root="elsewhere"), "tuner-wrote-nothing"),
    ],
    ids=["name", "key", "environment", "root"],
)
def test_given_entries_that_are_of_no_use_then_cold_and_nothing_is_published(tmp_path, pod, tuner, reason):
    done = pod("a").run(*tuner)

    assert done.ending == ("cold", reason), done.stderr
    assert pod("a").files() == {}
    assert not list((tmp_path / "store").rglob("bundle.json"))


def test_the_command_is_told_of_no_rank_file(pod):
    program = "import os, sys; sys.exit(0 if os.environ['AUTOTUNE_RANK_FILES'] == '[]' else 9)"
    command = shlex.join([sys.executable, "-c", program])
    done = pod("a").run("--tuner", "command", "--tuner-command", command)

    assert done.ending == ("cold", "tuner-wrote-nothing"), done.stderr


def test_a_file_in_the_stores_place_is_told_and_stays(pod):
    pod("a").run(*writing((NAME, entry())))
    there = pod("b")
    there.cache.mkdir(parents=True)
    (there.cache / "v2").write_bytes(b"mine")

    done = there.run()

    assert done.ending == ("cold", "cache-dir-unreadable"), done.stderr
    assert there.files() == {"v2": b"mine"}


def test_flashinfer_ops_does_not_pretend_to_know_what_the_engine_calls(pod):
    done = pod("a").run("--tuner", "flashinfer-ops")

    assert done.ending == ("cold", "tuner-unavailable"), done.stderr
    assert "use a command" in done.report["detail"]
