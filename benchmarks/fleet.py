"""A fleet of 1,000 pods that start at once on an empty bucket: what the wait for one tune costs them, and the store.

    make bench-fleet           # writes docs/evidence/fleet-1000.json and its picture; two fleets, each with a tune of 180 s: 7 minutes

1,000 real `Participant`s with the real `Driver` and a client each, on one MinIO over loopback HTTP. They are threads and
no processes: 1,000 interpreters do not fit on a small machine, and a waiter is asleep nearly all of its life. Not
asyncio either, for the product's driver is not, and it is what is measured. Only the tune is played: it sleeps for its
180 s. A request counts as it is sent, failed ones and those of the store's probe included.

`--expect` is how long the holder says that its tune will take (`expected_s` of claim.json); "none" where it cannot say.
"""

import argparse
import gc
import json
import math
import random
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import evidence  # noqa: E402 -- the repository's root has to be on the path first
from tests.bundles import bundle, identity  # noqa: E402 -- as above
from tests.processes import minio  # noqa: E402 -- as above

from cache_store.claim import Rules  # noqa: E402 -- as above
from cache_store.clock import SystemClock, fresh_nonce  # noqa: E402 -- as above
from cache_store.coordination import Participant  # noqa: E402 -- as above
from cache_store.errors import StoreError  # noqa: E402 -- as above
from cache_store.lookup import look_up, unreachable  # noqa: E402 -- as above
from cache_store.objects.counting import Counting  # noqa: E402 -- as above
from cache_store.objects.obstore_cloud import open_cloud  # noqa: E402 -- as above
from cache_store.objects.retrying import Backoff, Retrying  # noqa: E402 -- as above
from cache_store.participate import Driver  # noqa: E402 -- as above
from cache_store.probe import StoreClass, probe_store  # noqa: E402 -- as above
from cache_store.register import Hit, Unreachable  # noqa: E402 -- as above
from cache_store.steps import Adopted, Finished, Fit, Published, StillRunning, Unfit  # noqa: E402 -- as above

REQUEST_TIMEOUT_S = 10.0  # as --request-timeout
WAIT_S, DEADLINE_S = 900.0, 1800.0  # as --wait and --deadline
STACK_BYTES = 512 * 1024
# S3 Standard, us-east-1, dollars a request; DELETE is free
PRICES = {"get": 0.0004 / 1000, "put_if_absent": 0.005 / 1000, "put_if_match": 0.005 / 1000, "delete": 0.0}
GOAL_REQUESTS, GOAL_EXTRA_WAIT_S = 12, 8.0


Row = dict[str, Any]


@dataclass
class Fleet:
    """What all pods write down. Times are of one monotonic clock."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    sent_at: list[float] = field(default_factory=list)
    verbs: Counter[str] = field(default_factory=Counter)
    tunes: int = 0
    published_at: float = 0.0


class Watched:
    """A store that writes down when each request was sent, beneath the retries."""

    def __init__(self, inner: Counting, fleet: Fleet) -> None:
        self._inner, self._fleet = inner, fleet

    def __getattr__(self, name: str) -> object:
        found = getattr(self._inner, name)
        if name not in ("get", "put_if_absent", "put_if_match", "list", "delete"):
            return found

        def send(*arguments: object, **named: object) -> object:
            with self._fleet.lock:
                self._fleet.sent_at.append(time.monotonic())
                self._fleet.verbs[name] += 1
            return found(*arguments, **named)

        return send


class SleepingTune:
    """Takes `tune_s` by the clock on the wall and gives a bundle."""

    def __init__(self, fleet: Fleet, tune_s: float, clock: SystemClock) -> None:
        self._fleet, self._tune_s, self._clock = fleet, tune_s, clock
        self._until: float | None = None

    def run_for(self, max_s: float, epoch: int = 0) -> StillRunning | Finished:  # noqa: ARG002 -- of groups only
        if self._until is None:
            with self._fleet.lock:
                self._fleet.tunes += 1
            self._until = self._clock.monotonic() + self._tune_s
        left_s = self._until - self._clock.monotonic()
        self._clock.sleep(max(0.0, min(max_s, left_s)))
        if left_s > max_s:
            return StillRunning()
        return Finished(lambda epoch, nonce: bundle(epoch=epoch, nonce=nonce))

    def cancel(self) -> None:
        """Nothing runs."""


@dataclass
class Waiter:
    """How one pod fared."""

    outcome: str
    requests: int
    ended_at: float
    nonce: str


def be_a_pod(number: int, counting: Counting, fleet: Fleet, asked: "Asked") -> Waiter:
    """What `autotune-init run` does from its lookup on, but for placing."""
    rng = random.Random(f"{asked.seed}:{number}")
    clock = SystemClock()
    store = Retrying(
        Watched(counting, fleet), clock=clock, rng=rng, backoff=Backoff(attempts=4, total_s=3 * REQUEST_TIMEOUT_S)
    )  # fmt: skip
    who = identity()

    def check() -> Fit | Unfit | Unreachable:
        try:
            found = probe_store(store, fresh_nonce())
        except StoreError as error:
            return unreachable(error)
        return Fit() if found.store_class is StoreClass.FULL else Unfit("unfit", found.detail)

    def note(step: object) -> None:
        if type(step).__name__ == "WriteBundle":
            fleet.published_at = clock.monotonic()

    driver = Driver(
        store, who, tune=SleepingTune(fleet, asked.tune_s, clock), check_store=check, clock=clock, on_step=note
    )  # fmt: skip
    began = clock.monotonic()
    participant = Participant(
        holder=f"pod-{number}",
        rules=Rules(),
        rng=rng,
        nonce=fresh_nonce,
        monotonic=clock.monotonic,
        now=clock.now,
        wait_until=began + WAIT_S,
        deadline=began + DEADLINE_S,
        expected_s=asked.expect_s,
    )
    first = look_up(store, who)
    outcome = (
        Adopted(first.bundle, first.etag, waited=False)
        if isinstance(first, Hit)
        else driver.drive(participant, first)
    )
    ended_at = clock.monotonic()
    nonce = outcome.bundle.nonce if isinstance(outcome, Adopted | Published) else ""
    return Waiter(type(outcome).__name__, counting.counts.total_requests, ended_at, nonce)


@dataclass(frozen=True)
class Asked:
    """One run of the bench."""

    pods: int
    tune_s: float
    start_s: float
    expect_s: float | None
    seed: str


def run(asked: Asked, endpoint: str, bucket: str) -> Row:
    """One fleet, from its first lookup to its last end."""
    fleet = Fleet()
    environ = {**minio.KEYS, "AWS_ENDPOINT_URL_S3": endpoint}
    url = f"s3://{bucket}/{asked.seed}"
    waiters: list[Waiter] = []
    spread = random.Random(asked.seed)
    starts = [spread.uniform(0, asked.start_s) for _ in range(asked.pods)]
    everybody = threading.Barrier(asked.pods + 1)

    def live(number: int) -> None:
        client = Counting(open_cloud(url, environ=environ, request_timeout_s=REQUEST_TIMEOUT_S))
        everybody.wait()
        time.sleep(starts[number])
        waiters.append(be_a_pod(number, client, fleet, asked))

    threads = [threading.Thread(target=live, args=(number,)) for number in range(asked.pods)]
    for thread in threads:
        thread.start()
    everybody.wait()
    began = time.monotonic()
    for thread in threads:
        thread.join()
    return figures(asked, fleet, waiters, began)


def figures(asked: Asked, fleet: Fleet, waiters: list[Waiter], began: float) -> Row:
    outcomes = Counter(waiter.outcome for waiter in waiters)
    requests = sorted(waiter.requests for waiter in waiters if waiter.outcome == "Adopted")
    extra = sorted(waiter.ended_at - fleet.published_at for waiter in waiters if waiter.outcome == "Adopted")
    per_second = Counter(int(at - began) for at in fleet.sent_at)
    burst = max(per_second[second] for second in range(5))
    after = max(count for second, count in per_second.items() if second >= 10)
    return {
        "pods": asked.pods,
        "tune_s": asked.tune_s,
        "pods_start_within_s": asked.start_s,
        "holder_expects_s": asked.expect_s,
        "tunes": fleet.tunes,
        "outcomes": dict(outcomes),
        "distinct_bundles": len({waiter.nonce for waiter in waiters}),
        "requests": dict(sorted(fleet.verbs.items())),
        "requests_per_waiter": {
            "median": statistics.median(requests),
            "p90": requests[math.ceil(len(requests) * 0.9) - 1],
            "max": requests[-1],
        },
        "peak_requests_per_s": {"start": burst, "later": after},
        "extra_wait_s": {"median": round(statistics.median(extra), 2), "worst": round(extra[-1], 2)},
        "store_dollars": round(sum(PRICES[verb] * count for verb, count in fleet.verbs.items()), 5),
        "seconds": round(time.monotonic() - began, 1),
    }


def is_good(row: Row) -> bool:
    return (
        row["tunes"] == 1
        and row["distinct_bundles"] == 1
        and row["outcomes"] == {"Adopted": row["pods"] - 1, "Published": 1}
    )


def table(rows: list[Row]) -> str:
    """As docs/coordination.md shows it."""
    lines = [
        "| the holder says | tunes | requests per waiter: median / p90 / max | peak requests/s: start / later | extra wait: median / worst | store |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        asks, peak, extra = row["requests_per_waiter"], row["peak_requests_per_s"], row["extra_wait_s"]
        says = "nothing" if row["holder_expects_s"] is None else f"{row['holder_expects_s']:g} s"
        lines.append(
            f"| {says} | {row['tunes']} | {asks['median']:g} / {asks['p90']} / {asks['max']} | {peak['start']} / {peak['later']} "
            f"| {extra['median']} s / {extra['worst']} s | ${row['store_dollars']:.4f} |"
        )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pods", type=int, default=1000)
    parser.add_argument("--tune", type=float, default=180.0, metavar="S")
    parser.add_argument("--start", type=float, default=2.0, metavar="S", help="all pods start within this")
    parser.add_argument(
        "--expect",
        action="append",
        help="seconds, or none; repeatable, one fleet each; without it: what is true, and none",
    )
    parser.add_argument("--keep", metavar="NAME", help="as docs/evidence/NAME.json and NAME.svg")
    chosen = parser.parse_args()
    threading.stack_size(STACK_BYTES)
    gc.freeze()
    rows = []
    with tempfile.TemporaryDirectory() as folder, minio.serve(folder) as endpoint:
        bucket = minio.Bucket(endpoint, "fleet").create()
        for number, said in enumerate(chosen.expect or [f"{chosen.tune:g}", "none"]):
            expect_s = None if said == "none" else float(said)
            asked = Asked(chosen.pods, chosen.tune, chosen.start, expect_s, f"fleet-{number}")
            rows.append(run(asked, endpoint, bucket.name))
            print(json.dumps(rows[-1]), flush=True)
    result = {
        "server": "MinIO, one drive, a versioned bucket, loopback",
        "goal": {"requests_per_waiter": GOAL_REQUESTS, "extra_wait_worst_s": GOAL_EXTRA_WAIT_S},
        "fleets": rows,
    }
    print(table(rows))
    if chosen.keep:
        evidence.keep(chosen.keep, f"python -m benchmarks.fleet {' '.join(sys.argv[1:])}", result)
    return 0 if all(is_good(row) for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
