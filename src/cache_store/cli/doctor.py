"""`cache-store doctor`: is this store reachable, allowed and honest? Asked on the very prefix that will be used."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from itertools import islice
from typing import Any, TypeVar

import click

from cache_store.cli import output
from cache_store.cli.diagnosis import S3_ACTIONS, Check, CheckName, Diagnosis, diagnose, gc_policy, iam_policy
from cache_store.cli.help_text import ALWAYS, epilog
from cache_store.cli.reach import Reach, reach_of
from cache_store.cli.session import Problem, Session, store_options
from cache_store.clock import Clock
from cache_store.dataclass import dataclass, field, replace
from cache_store.errors import ErrorKind, StoreError
from cache_store.exit_codes import ExitCode
from cache_store.layout import PROBES
from cache_store.objects import KIB, Missing, NotWritten, ObjectStore, StoredObject, Written
from cache_store.probe import ProbeResult, RaceReport, StoreClass, probe_store, race_probe

SCHEMA = "autotune-cache/doctor/v1"
LATENCY_GETS = 5
RACE_THREADS = 32
RACE_ROUNDS = 50
ALL_CHECKS: tuple[CheckName, ...] = ("get", "list", "write", "read", "conditions", "delete")

_EXAMPLES = """
doctor --store s3://models/autotune
doctor --race --json | jq .use
"""
_ASKED = {
    "get": "get a missing object",
    "list": "list",
    "write": "create an object",
    "read": "read it back",
    "conditions": "conditional writes",
    "delete": "delete it",
    "race": "race",
}

R = TypeVar("R")


@dataclass
class Examination:
    """What was asked and answered. `ahead_s`: the server's clock minus ours, to about a second."""

    checks: list[Check] = field(default_factory=list)
    probe: ProbeResult | None = None
    race: RaceReport | None = None
    latencies_s: list[float] = field(default_factory=list)
    ahead_s: float | None = None
    ahead_from: str | None = None
    own_left: str | None = None

    @property
    def left(self) -> tuple[str, ...]:
        """The objects that could not be deleted again."""
        of_probe = self.probe.left_behind if self.probe else None
        return tuple(key for key in (self.own_left, of_probe) if key)

    def has_passed(self, name: CheckName) -> bool:
        return any(check.name == name and check.result == "passed" for check in self.checks)


@click.command(
    short_help="Check what the store can do.",
    epilog=epilog(ExitCode.OK, ExitCode.UNFIT, *ALWAYS, examples=_EXAMPLES),
)
@click.option("--race", "is_race", is_flag=True, help="Also race 32 writers for one object, in many rounds.")
@click.option(
    "--race-rounds",
    metavar="N",
    type=click.IntRange(1, 10_000),
    help="With --race: how many rounds; default: 50.",
)
@store_options
@click.pass_obj
def doctor(session: Session, is_race: bool, race_rounds: int | None) -> int:
    """Check what the store can do, on the very prefix: reach it, read, list, write, keep conditions; latency, clock.

    Says what the store may be used for, and where something is refused, which right is missing. Writes a few small
    objects below .probe/ and deletes them. Nothing is sent again: what fails once shows.
    """
    if race_rounds is not None and not is_race:
        raise Problem("usage", "--race-rounds belongs to --race", ExitCode.USAGE)
    with session.plain_store() as store:
        found = _examine(store, session, race_rounds=(race_rounds or RACE_ROUNDS) if is_race else 0)
        url = store.url
        reach = reach_of(url, type(store).__module__, session.environ)
    diagnosis = diagnose(found.checks, found.probe, found.race, found.ahead_s, found.left)
    region = session.environ.get("AWS_REGION") or session.environ.get("AWS_DEFAULT_REGION") or ""
    view = _view(url, reach, found, diagnosis)
    if diagnosis.missing:
        view |= {"policy": iam_policy(url, region, diagnosis.missing), "policy_gc": gc_policy(url, region)}
    if session.is_json:
        output.emit_json(view)
    else:
        output.emit_lines(_lines(view, is_s3=url.startswith("s3:")))
    return diagnosis.exit_code


def _examine(store: ObjectStore, session: Session, *, race_rounds: int) -> Examination:
    nonce = session.nonce()
    found = Examination()
    key = f"{PROBES}{nonce}-doctor"
    try:
        _ask_all(store, session, found, key, nonce, race_rounds)
    except (KeyboardInterrupt, SystemExit):
        for ours in (key, PROBES + nonce):
            with suppress(StoreError):
                store.delete(ours)
        raise
    names: tuple[CheckName, ...] = (*ALL_CHECKS, "race") if race_rounds else ALL_CHECKS
    asked = {check.name for check in found.checks}
    found.checks += [
        Check(name, "skipped", "not asked after what failed before") for name in names if name not in asked
    ]
    return found


def _ask_all(
    store: ObjectStore, session: Session, found: Examination, key: str, nonce: str, race_rounds: int
) -> None:
    clock = session.clock

    def ask(name: CheckName, call: Callable[[], R], describe: Callable[[R], str]) -> R | None:
        began = clock.monotonic()
        try:
            answer = call()
        except StoreError as error:
            took_s = clock.monotonic() - began
            found.checks.append(Check(name, "failed", str(error), took_s, error.kind, error.hint))
            return None
        found.checks.append(Check(name, "passed", describe(answer), clock.monotonic() - began))
        return answer

    began = clock.now()
    absent = ask("get", lambda: store.get(f"{key}-absent", limit_bytes=KIB), lambda _: "answered as missing")
    if not absent and (found.checks[0].kind is not ErrorKind.DENIED or found.checks[0].hint):
        return
    _note_clock(found, absent.date if absent else None, "date", began, clock.now())
    ask(
        "list",
        lambda: list(islice(store.list(""), 1)),
        lambda rows: "something is there" if rows else "empty",
    )
    began = clock.now()
    written = ask("write", lambda: store.put_if_absent(key, nonce.encode()), _write_detail)
    wrote = clock.now()
    if isinstance(written, Written):
        seen = ask("read", lambda: _read_back(store, key, nonce), lambda _: "as written")
        _note_clock(found, seen.last_modified if seen else None, "last-modified", began, wrote)
    elif found.checks[-1].kind is ErrorKind.UNSUPPORTED:
        found.probe = ProbeResult(StoreClass.REJECTS, found.checks[-1].detail)
    if isinstance(
        written, NotWritten
    ):  # of an object that nobody else can have made; the probe says what that means
        found.checks[-1] = replace(found.checks[-1], result="failed")
    if written is not None:
        found.probe = ask("conditions", lambda: probe_store(store, nonce), lambda probe: probe.detail)
    _measure(store, clock, found, key if isinstance(written, Written) else f"{key}-absent")
    if isinstance(written, Written):
        ask("delete", lambda: store.delete(key), lambda _: "done")
        found.own_left = None if found.has_passed("delete") else key
    # each round leaves an object where nothing may be deleted
    if (
        race_rounds
        and not found.left
        and found.probe is not None
        and found.probe.store_class is StoreClass.FULL
    ):
        found.race = ask(
            "race", lambda: race_probe(store, nonce, threads=RACE_THREADS, rounds=race_rounds), _race_detail
        )


def _write_detail(answer: Written | NotWritten) -> str:
    return "done" if isinstance(answer, Written) else f"not written: answered {answer.status}"


def _read_back(store: ObjectStore, key: str, nonce: str) -> StoredObject:
    answer = store.get(key, limit_bytes=KIB)
    if isinstance(answer, Missing) or answer.body != nonce.encode():
        raise StoreError(ErrorKind.UNAVAILABLE, f"{key}: what was written is not what is read")
    return answer


def _note_clock(
    found: Examination, theirs: datetime | None, source: str, began: datetime, ended: datetime
) -> None:
    if theirs is not None and found.ahead_s is None:
        found.ahead_s = (theirs - (began + (ended - began) / 2)).total_seconds()
        found.ahead_from = source


def _measure(store: ObjectStore, clock: Clock, found: Examination, key: str) -> None:
    if not (found.has_passed("get") or found.has_passed("read")):
        return
    for _ in range(LATENCY_GETS):
        began = clock.monotonic()
        with suppress(StoreError):
            store.get(key, limit_bytes=KIB)
            found.latencies_s.append(clock.monotonic() - began)


def _race_detail(race: RaceReport) -> str:
    if race.problems:
        return f"{len(race.problems)} rounds without exactly one winner, the first: {race.problems[0]}"
    return f"{race.rounds} rounds of {RACE_THREADS} writers, one winner each, {race.unanswered} not answered in full"


def _view(url: str, reach: Reach, found: Examination, diagnosis: Diagnosis) -> dict[str, Any]:
    probe, race = found.probe, found.race
    return {
        "schema": SCHEMA,
        "store": url,
        "reach": vars(reach),
        "class": probe.store_class.value if probe else None,
        "class_detail": probe.detail if probe else None,
        "use": diagnosis.use,
        "sentence": diagnosis.sentence,
        "exit_code": int(diagnosis.exit_code),
        "checks": [
            {
                "name": check.name,
                "result": check.result,
                "detail": check.detail,
                "kind": check.kind.value if check.kind else None,
                "seconds": check.seconds,
            }
            for check in found.checks
        ],
        "latency_s": statistics.median(found.latencies_s) if found.latencies_s else None,
        "clock_ahead_s": found.ahead_s,
        "clock_source": found.ahead_from,
        "has_dates": probe.has_dates if probe else None,
        "etag_form": probe.etag_form if probe else None,
        "left_behind": found.left[0] if found.left else None,
        "left_objects": list(found.left),
        "missing_rights": list(diagnosis.missing),
        "advice": list(diagnosis.advice),
        "policy": None,
        "policy_gc": None,
        "race": {
            "rounds": race.rounds,
            "threads": RACE_THREADS,
            "unanswered": race.unanswered,
            "is_atomic": race.is_atomic,
            "problems": list(race.problems),
        }
        if race
        else None,
    }


def _lines(view: dict[str, Any], *, is_s3: bool) -> Iterator[str]:
    yield f"store    {view['store']}"
    yield from _reach_lines(view["reach"])
    yield f"use      {view['use']}: {view['sentence']}"
    yield f"class    {view['class'] or 'unknown'}" + (
        f" ({view['class_detail']})" if view["class_detail"] else ""
    )
    yield "checks"
    for check in view["checks"]:
        took = "" if check["seconds"] is None else f"  {check['seconds'] * 1000:.0f} ms"
        yield f"  {check['result']:<8} {_ASKED[check['name']]:<21} {check['detail']}{took}"
    if view["latency_s"] is not None:
        yield f"latency  {view['latency_s'] * 1000:.1f} ms, median of {LATENCY_GETS} GETs"
    if view["clock_ahead_s"] is not None:
        ahead = view["clock_ahead_s"]
        yield f"clock    the server's is {abs(ahead):.1f} s {'ahead of' if ahead >= 0 else 'behind'} ours (to about 1 s)"
    for right in view["missing_rights"]:
        yield f"missing  the right to {right}" + (f" ({S3_ACTIONS[right]})" if is_s3 else "")
    for sentence in view["advice"]:
        yield f"advice   {sentence}"
    if view["policy"]:
        yield "policy   what pods that tune lack, as an IAM policy:"
        yield from json.dumps(view["policy"], indent=2).splitlines()
        yield "policy   what `gc --yes` needs beyond that: for operators, never for pods:"
        yield from json.dumps(view["policy_gc"], indent=2).splitlines()


def _reach_lines(reach: dict[str, Any]) -> Iterator[str]:
    told = f"client   {reach['adapter']}"
    if reach["credentials"] is not None:
        told += f", endpoint {reach['endpoint'] or 'of the cloud'}, region {reach['region'] or 'not said'}"
    yield told
    if reach["credentials"] is not None:
        end = f" (...{reach['access_key_end']})" if reach["access_key_end"] else ""
        yield f"keys     {reach['credentials']}{end}"
