"""How a run can end: outcome, reason, and the exit code that `--strict` makes of it. One table, append only.

Without `--strict` every ending is exit 0: Kubernetes has no "continue if init fails", and with LeaderWorkerSet a
restarted init container recreates the whole group.
"""

from __future__ import annotations

from enum import Enum


class Outcome(str, Enum):
    """What the engine will find."""

    HIT = "hit"  # the fleet's bundle is in the cache dir
    LOCAL = "local"  # a complete valid set was there already; the store was asked at most about a quarantine
    TUNED = "tuned"  # this pod tuned; the result is in the cache dir
    WAITED = "waited"  # another pod tuned meanwhile; its bundle is in the cache dir
    COLD = "cold"  # nothing is in the cache dir; the engine tunes by itself
    SKIPPED = "skipped"  # we did not try, and say why


WARM = frozenset({Outcome.HIT, Outcome.LOCAL, Outcome.TUNED, Outcome.WAITED})

OK = 0
INTERNAL = 1
BAD_SETTINGS = 2
TERMINATED = 143

# reason, or a prefix that ends in "-" -> (exit code under --strict, what it means)
REASONS: dict[str, tuple[int, str]] = {
    "internal": (INTERNAL, "a bug of ours; the detail has the exception"),
    "bad-settings": (BAD_SETTINGS, "an unknown AUTOTUNE_* variable, an unknown flag or a wrong value"),
    "store-unavailable": (
        10,
        "refused, reset, 5xx, TLS failure or truncated answer, several times within 30 s",
    ),
    "store-timeout": (10, "no answer in time"),
    "store-not-found": (10, "the bucket does not exist"),
    "store-invalid": (BAD_SETTINGS, "the store's URL or settings are wrong"),
    "store-internal": (INTERNAL, "the store adapter failed in an unforeseen way"),
    "store-too-large": (13, "an object is larger than it may be"),
    "store-corrupt": (13, "the store answered with bytes that make no sense"),
    "no-store": (10, "no --store was given and the cache dir is not complete"),
    "wait-exceeded": (11, "another pod was still tuning when --wait was over"),
    "tune-failed-recently": (11, "another pod's tune failed and the cool-down is not over"),
    "fenced": (12, "ops changed the register while this pod tuned; its result was discarded"),
    "quarantined": (12, "ops took this bundle out of service, not to be tuned again"),
    "bundle-": (13, "bundle.json is corrupt, foreign, too large or of an unknown schema"),
    "store-denied": (14, "403 or a read-only store; without s3:ListBucket a missing object is a 403 too"),
    "claim-exhausted": (
        12,
        "the claim's epoch can grow no further, which no pod wrote: an operator looks at claim.json",
    ),
    "tuner-": (15, "the tuner crashed, hung, wrote nothing, half a file, or a file that re-tunes"),
    "place-": (16, "disk full, no right to write, or another I/O error; nothing was placed"),
    "local-newer": (16, "a valid local file is newer than the bundle; it stays and nothing was placed"),
    "cache-dir-": (16, "the cache dir cannot be read"),
    "unknown-engine": (17, "the engine is not known"),
    "unknown-engine-version": (17, "the engine's version is not in the table, or could not be found out"),
    "undecidable": (
        17,
        "argv and config.json do not decide every input of the key; the detail names what is missing",
    ),
    "key-": (17, "the key could not be derived; the detail says why"),
    "miss": (18, "no bundle, and this pod may not tune (--tuner none or wait)"),
    "environment-": (19, "this pod's FlashInfer environment could not be found out"),
    "facts-": (19, "the facts file is unusable"),
    "deadline": (20, "--deadline was over"),
    "store-unsupported": (21, "the store rejects conditional writes; it can only be read"),
    "store-ignores-conditions": (21, "the store ignores conditional writes; it can only be read"),
    "store-create-only": (21, "the store keeps create-only but not compare-and-swap; it can only be read"),
    "program-": (25, "our program could not run in this image, or was killed in it"),
    "replica-group": (
        23,
        "the replica has several pods, and they cannot find each other; the detail says why",
    ),
    "group-torn": (
        26,
        "others of its replica may be warm and this pod cannot be: it ends with 26, strict or not, once, so that they start anew",
    ),
    "group-split": (
        26,
        "as group-torn, after a restart that has not helped: this pod starts cold beside them",
    ),
    "group-cold": (26, "another pod of its replica cannot be warm or did not come; all of them start cold"),
    "group-": (26, "the pods of its replica did not settle on one bundle; all of them start cold"),
    "engine-": (24, "the engine uses no shared autotune files in this configuration"),
    "known-bad-": (24, "a known hazard speaks against it; the detail has its source (--allow-known-bad ID)"),
    "bound-to-gpu": (24, "the engine's file names carry a GPU's UUID; such files cannot be shared"),
    "terminated": (TERMINATED, "SIGTERM"),
}


# one warm and one cold pod can hang an engine: the one ending that is better restarted than started
ALWAYS_FAILS = frozenset({"group-torn"})


def exit_code(outcome: Outcome, reason: str, *, is_strict: bool) -> int:
    """0 whatever happened, but for `--strict` and for what always fails."""
    return strict_exit_code(outcome, reason) if is_strict or reason in ALWAYS_FAILS else OK


def strict_exit_code(outcome: Outcome, reason: str) -> int:
    """0 where the engine finds its kernels, else the reason's code; an unlisted reason counts as internal."""
    if outcome in WARM:
        return OK
    if reason in REASONS:
        return REASONS[reason][0]
    prefixes = [known for known in REASONS if known.endswith("-") and reason.startswith(known)]
    return REASONS[max(prefixes, key=len)][0] if prefixes else INTERNAL
