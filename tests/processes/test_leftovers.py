"""What a pod that was killed between fsync and link leaves in a directory store: in nobody's way, and swept later."""

import os
import queue
import signal
import time

import pytest
from tests.processes import gates
from tests.processes.pods import Nursery, Pod, bring_tuner, tuning
from tests.processes.rounds import Gate

from cache_store.clock import fresh_nonce
from cache_store.objects import version_files
from cache_store.objects.directory import DirectoryStore


@pytest.mark.parametrize("name", ["claim.json", "bundle.json"])
def test_given_a_kill_between_fsync_and_link_then_the_next_pod_tunes_and_the_leftover_is_swept(
    tmp_path, monkeypatch, name
):
    root = tmp_path / "store"
    root.mkdir()
    bring_tuner(tmp_path)
    flags = tuning(0.1, tmp_path)
    killed = Pod(tmp_path / "killed", "killed", root.as_uri(), flags=flags)
    address, arrivals = f"/tmp/gate-left-{os.getpid()}-{name}", queue.SimpleQueue()
    with Nursery() as nursery, Gate(address, arrivals):
        one = nursery.start(killed, at=f"{gates.BEFORE_LINK}:{name}", gate=address)
        arrivals.get(timeout=30)
        nursery.signal(one, signal.SIGKILL)
        assert nursery.wait(one, 30)
        left = list(root.rglob("tmp-*"))
        assert [path.parent.name for path in left] == [f".~{name}"]

        after = Pod(tmp_path / "after", "after", root.as_uri(), flags=flags)
        assert nursery.wait(nursery.start(after), 60)

    assert (after.last.report["outcome"], after.last.code) == ("tuned", 0), after.last.stderr.read_text()
    store = DirectoryStore(root, nonce=fresh_nonce)
    keys = sorted(entry.key for entry in store.list(""))
    assert [key.rpartition("/")[2] for key in keys] == ["bundle.json", "claim.json"]
    assert left[0].exists(), "it is younger than an hour: its writer could still be at work"
    monkeypatch.setattr(version_files, "KEPT_S", 0.5)
    time.sleep(0.6)
    key = next(key for key in keys if key.endswith(name))
    store.put_if_match(key, b"{}", store.get(key, limit_bytes=1 << 20).etag)
    assert list(root.rglob("tmp-*")) == []
