"""What a few requests to a store mean: what it may be used for, which rights are missing, what to do. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal
from urllib.parse import urlsplit

from cache_store.dataclass import dataclass
from cache_store.errors import ADVICE, ErrorKind
from cache_store.exit_codes import OF_ERROR, ExitCode
from cache_store.layout import PROBES
from cache_store.probe import ProbeResult, RaceReport, StoreClass

CheckName = Literal["get", "list", "write", "read", "conditions", "delete", "race"]
Use = Literal["tune", "read", "nothing"]
CLOCKS_DIFFER_S = 60.0  # a lease is as long
Right = Literal["list", "read", "write", "delete"]

S3_ACTIONS: Mapping[Right, str] = MappingProxyType(
    {"list": "s3:ListBucket", "read": "s3:GetObject", "write": "s3:PutObject", "delete": "s3:DeleteObject"}
)
_CLASS_SENTENCES = {
    StoreClass.FULL: "it keeps conditional writes: pods may read, tune and publish here",
    StoreClass.CREATE_ONLY: "it creates once, but does not compare and swap: pods may read here, and must not tune",
    StoreClass.REJECTS: "it does not take conditional writes: pods may read here, and must not tune",
    StoreClass.IGNORES: "it ignores the conditions of writes: pods may read here, and must not tune",
}


@dataclass(frozen=True)
class Check:
    """One question to the store. `result`: passed | failed | skipped; `kind` says how it failed.

    `hint`: what is wrong with the credentials, where they themselves were refused or there are none.
    """

    name: CheckName
    result: Literal["passed", "failed", "skipped"]
    detail: str
    seconds: float | None = None
    kind: ErrorKind | None = None
    hint: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """`missing`: rights that the credentials lack. `advice`: what to do, one sentence each."""

    use: Use
    sentence: str
    exit_code: ExitCode
    missing: tuple[Right, ...] = ()
    advice: tuple[str, ...] = ()


def diagnose(
    checks: Iterable[Check],
    probe: ProbeResult | None,
    race: RaceReport | None = None,
    clock_ahead_s: float | None = None,
    left: Sequence[str] = (),
) -> Diagnosis:
    """`probe` is None where the conditions could not be asked about, `race` None where nobody asked for one.

    `clock_ahead_s`: the server's clock minus ours. `left`: probe objects that could not be deleted.
    """
    by_name = {check.name: check for check in checks}
    missing = missing_rights(by_name)
    advice = _advice(by_name, probe, left) + _advice_on_clock(clock_ahead_s)
    can_read = "passed" in {by_name[name].result for name in ("get", "read") if name in by_name}

    def end(use: Use, sentence: str, exit_code: ExitCode) -> Diagnosis:
        return Diagnosis(use, sentence, exit_code, missing, advice)

    # deleting is a courtesy, and so is listing where a missing object is answered as one
    fatal = [
        check
        for check in by_name.values()
        if check.result == "failed" and check.name not in ("delete", "list")
    ]
    if refused := next((check for check in fatal if check.hint), None):
        return end(
            "read" if can_read else "nothing",
            f"the credentials are the trouble: {refused.hint}",
            ExitCode.DENIED,
        )
    if worst := next((check for check in fatal if check.kind not in (None, ErrorKind.DENIED)), None):
        return end(*_trouble(worst, can_read=can_read))
    if any(check.kind is ErrorKind.DENIED for check in fatal):
        return end(*_denied(by_name))
    if probe is None:
        return end(
            "read" if can_read else "nothing", "whether it keeps conditions is unknown", ExitCode.UNAVAILABLE
        )
    if probe.store_class is not StoreClass.FULL:
        return end("read", _CLASS_SENTENCES[probe.store_class], ExitCode.UNFIT)
    if race is not None and race.problems:
        return end(
            "read",
            "it keeps conditions only while nobody races: pods may read here, and must not tune",
            ExitCode.UNFIT,
        )
    if race is not None and not race.is_atomic:
        return end(
            "read", "no round of the race was answered in full: nothing is proven", ExitCode.UNAVAILABLE
        )
    return end("tune", _CLASS_SENTENCES[StoreClass.FULL], ExitCode.OK)


def _trouble(check: Check, *, can_read: bool) -> tuple[Use, str, ExitCode]:
    kind = check.kind or ErrorKind.INTERNAL
    use: Use = "read" if can_read else "nothing"
    if kind is ErrorKind.UNSUPPORTED and can_read:
        return use, _CLASS_SENTENCES[StoreClass.REJECTS], ExitCode.UNFIT
    if can_read:
        sentence = (
            f"reading works, but {check.name} failed ({kind.value}): do not tune here before it is mended"
        )
        return use, sentence, OF_ERROR[kind]
    return use, f"it cannot be used: {kind.value}", OF_ERROR[kind]


def _denied(by_name: Mapping[CheckName, Check]) -> tuple[Use, str, ExitCode]:
    def passed(name: CheckName) -> bool:
        return name in by_name and by_name[name].result == "passed"

    if passed("get"):
        return (
            "read",
            "these credentials may read, and not write: pods find bundles here, and cannot tune",
            ExitCode.DENIED,
        )
    if passed("read"):
        return (
            "read",
            "a missing object is answered like a forbidden one: pods find bundles here, but cannot tell a miss and "
            "start cold",
            ExitCode.DENIED,
        )
    return "nothing", "these credentials may not even read", ExitCode.DENIED


def missing_rights(by_name: Mapping[CheckName, Check]) -> tuple[Right, ...]:
    """Which rights the refusals prove to be missing.

    Where the credentials themselves were refused, no right was looked at. S3 answers GET of a missing object with 403 where listing is not allowed, so a refused `get` alone tells nothing
    of the right to read; reading back what was written does. Where that could not be tried either, both are named.
    """

    def is_denied(name: CheckName) -> bool:
        return name in by_name and by_name[name].kind is ErrorKind.DENIED and not by_name[name].hint

    could_read_back = "read" in by_name and by_name["read"].result == "passed"
    found: list[Right] = []
    if is_denied("list") or (is_denied("get") and could_read_back):
        found.append("list")
    if is_denied("read") or (is_denied("get") and not could_read_back):
        found.append("read")
    if is_denied("write") or (is_denied("conditions") and could_read_back):
        found.append("write")
    if is_denied("delete"):
        found.append("delete")
    return tuple(found)


def _advice(
    by_name: Mapping[CheckName, Check], probe: ProbeResult | None, left: Sequence[str]
) -> tuple[str, ...]:
    kinds = dict.fromkeys(check.kind for check in by_name.values() if check.kind is not None)
    advice = [ADVICE[kind] for kind in kinds if kind is not ErrorKind.DENIED]
    if "list" in by_name and by_name["list"].kind is ErrorKind.DENIED and not by_name["list"].hint:
        advice.append(
            "without the right to list, ls, claims, verify without addresses and parts of keys do not work"
        )
    if left:
        advice.append(f"{' and '.join(left)} could not be deleted; a lifecycle rule on {PROBES} would do it")
    if probe is not None and probe.etag_form == "unquoted":
        advice.append("this store wants If-Match without quotes (Ceph RGW 16 does); upgrade it if you can")
    return tuple(advice)


def _advice_on_clock(ahead_s: float | None) -> tuple[str, ...]:
    if ahead_s is None or abs(ahead_s) <= CLOCKS_DIFFER_S:
        return ()
    return (
        f"this computer's clock is {abs(ahead_s):.0f} s {'behind' if ahead_s > 0 else 'ahead of'} the store's: set it (NTP); "
        "ages that are told here are off by that, and claims are misjudged by it",
    )


def iam_policy(url: str, region: str, rights: Sequence[Right] = tuple(S3_ACTIONS)) -> dict[str, Any] | None:
    """What gives `rights` on an s3:// URL to pods that tune, as an AWS policy document; None for other stores.

    ListBucket carries no s3:prefix condition: GetObject has no such key, so S3 would go on answering 403 for a missing
    object. DeleteObject is for the probe's own objects alone.
    """
    if (place := _arns(url, region)) is None or not rights:
        return None
    bucket, below = place
    statements: tuple[tuple[str, tuple[Right, ...], str], ...] = (
        ("AutotuneCacheList", ("list",), bucket),
        ("AutotuneCacheReadWrite", ("read", "write"), f"{below}/*"),
        ("AutotuneCacheProbe", ("delete",), f"{below}/{PROBES}*"),
    )
    return _policy(
        (sid, [S3_ACTIONS[right] for right in of if right in rights], resource)
        for sid, of, resource in statements
    )


def gc_policy(url: str, region: str) -> dict[str, Any] | None:
    """What `gc --yes` needs beyond that: for operators, and never for pods."""
    place = _arns(url, region)
    return _policy([("AutotuneCacheGc", ["s3:DeleteObject"], f"{place[1]}/*")]) if place else None


def _arns(url: str, region: str) -> tuple[str, str] | None:
    """Of the bucket, and of the prefix in it."""
    parts = urlsplit(url)
    if parts.scheme != "s3":
        return None
    partition = (
        "aws-cn" if region.startswith("cn-") else "aws-us-gov" if region.startswith("us-gov-") else "aws"
    )
    bucket = f"arn:{partition}:s3:::{parts.netloc}"
    return bucket, f"{bucket}/{parts.path.strip('/')}".rstrip("/")


def _policy(statements: Iterable[tuple[str, list[str], str]]) -> dict[str, Any]:
    return {
        "Version": "2012-10-17",
        "Statement": [
            {"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": [resource]}
            for sid, actions, resource in statements
            if actions
        ],
    }
