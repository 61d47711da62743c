"""SIGTERM in every step of the flow: a named ending, the cache dir as it was or complete, nothing lost in the bucket."""

import random
import threading

import pytest
from tests.bundles import H100, identity, rank_file
from tests.unit.test_plan import replaced

from autotune_init.flow import warm
from autotune_init.outcomes import Outcome
from autotune_init.place import Ownership
from autotune_init.pod_start import Pod as FlowPod
from autotune_init.pod_start import Tools
from autotune_init.tuners import Coverage, TuneResult
from cache_store.bundle import Provenance
from cache_store.bundle_json import parse_register
from cache_store.claim import Claim, Rules, parse_claim
from cache_store.clock import Cancelled, SystemClock, fresh_nonce
from cache_store.objects import Missing
from cache_store.objects.memory import MemoryStore
from cache_store.steps import Fit

NAMES = ("rank_tp0_pp0_dp0.json", "rank_tp1_pp0_dp0.json")
LAST = 24
FAST = Rules(lease_s=2.0, renew_s=0.05, margin_s=0.2, poll_s=0.05, start_jitter_s=0.01)
BODIES = dict.fromkeys(NAMES, rank_file())


class SlowTuner:
    """Takes 0.3 s, so that heartbeats happen; looks at `stop` as a real one does."""

    name = "command"

    def tune(self, _request, stop):
        if stop.wait(0.3):
            from autotune_init.tuners import TunerFailed

            raise TunerFailed("tuner-cancelled", "told to stop")
        return TuneResult(BODIES, Coverage({"fp8_gemm": 1}, 1, 1024, {}), "metadata")


class Stepping:
    """A store that tells after each answered request, so that a stop can be put behind any of them."""

    def __init__(self, inner, on_answer):
        self.inner, self.on_answer = inner, on_answer

    def __getattr__(self, name):
        method = getattr(self.inner, name)
        if name in ("url", "close"):
            return method

        def call(*args, **kwargs):
            answer = method(*args, **kwargs)
            self.on_answer()
            return answer

        return call


def run(directory, store, stop_before_step=None, stop_after_answer=None):
    """One pod on `store`; the stop comes before the n-th step or after the n-th answer. Returns (ending or None, n)."""
    stop = threading.Event()
    clock = SystemClock(stop)
    seen = {"steps": 0, "answers": 0}

    def count(what, limit):
        seen[what] += 1
        if seen[what] == limit:
            stop.set()

    stepping = Stepping(store, lambda: count("answers", stop_after_answer))

    class Request:
        rank_files = NAMES
        metadata = H100

    pod = FlowPod(
        cache=replaced(directory=str(directory), rank_files=NAMES, all_rank_files=NAMES),
        identity=identity(),
        holder="pod",
        ownership=Ownership(),
        provenance=Provenance(),
        rules=lambda: FAST,
        wait_until=clock.monotonic() + 20,
        deadline=clock.monotonic() + 30,
    )
    tools = Tools(
        open_store=lambda: stepping,
        check_store=lambda _: Fit(),
        tuner=SlowTuner(),
        waits=False,
        tune_request=Request,
        clock=clock,
        stop=stop,
        rng=random.Random(1),
        nonce=fresh_nonce,
        on_step=lambda _: count("steps", stop_before_step),
    )
    try:
        return warm(pod, tools), seen
    except Cancelled:
        return None, seen


def check(directory, store, ending):
    """Whatever happened: all files or none, and what is in the bucket is whole and lets the next pod go on."""
    present = sorted(path.name for path in directory.iterdir()) if directory.exists() else []
    assert present in ([], sorted(NAMES)), "no torn directory, no temporary file"
    assert (ending is not None and ending.outcome is Outcome.TUNED) == bool(present)
    claim = store.get(identity().address.claim_key, limit_bytes=10**6)
    bundle = store.get(identity().address.bundle_key, limit_bytes=10**6)
    if not isinstance(bundle, Missing):
        parse_register(bundle.body)
    if not isinstance(claim, Missing):
        assert isinstance(parse_claim(claim.body), Claim)
    threads = [thread.name for thread in threading.enumerate() if thread.name == "tune" and thread.is_alive()]
    assert threads == [], "no tune goes on"
    successor, _ = run(directory.with_name("next"), store)
    assert successor is not None
    assert successor.outcome in (Outcome.TUNED, Outcome.HIT, Outcome.WAITED)
    if not isinstance(bundle, Missing):
        assert store.get(identity().address.bundle_key, limit_bytes=10**6).body == bundle.body


@pytest.mark.parametrize("n", range(1, LAST + 1))
def test_given_sigterm_before_the_nth_step_then_nothing_is_torn(tmp_path, n):
    store = MemoryStore(SystemClock())
    ending, _ = run(tmp_path / "pod", store, stop_before_step=n)
    check(tmp_path / "pod", store, ending)


@pytest.mark.parametrize("n", range(1, LAST + 1))
def test_given_sigterm_after_the_nth_answer_of_the_store_then_nothing_is_torn(tmp_path, n):
    store = MemoryStore(SystemClock())
    ending, _ = run(tmp_path / "pod", store, stop_after_answer=n)
    check(tmp_path / "pod", store, ending)


def test_the_stops_above_reach_behind_the_last_step(tmp_path):
    """Otherwise a step would be stopped nowhere. Heartbeats (two a renewal) vary with the machine's speed."""
    _, seen = run(tmp_path / "count", MemoryStore(SystemClock()))

    assert 8 <= seen["steps"] <= LAST
    assert 6 <= seen["answers"] <= LAST


def test_given_sigterm_while_tuning_then_the_claim_says_released(tmp_path):
    store = MemoryStore(SystemClock())
    run(tmp_path / "pod", store, stop_before_step=7)

    claim = parse_claim(store.get(identity().address.claim_key, limit_bytes=10**6).body)
    assert claim.state == "released"
