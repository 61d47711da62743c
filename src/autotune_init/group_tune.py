"""A tune that the pods of a replica group share: each its own ranks, brought together in the bucket by the leader.

An engine that starts on several nodes tunes on all of them at once, and where file keys carry a rank each rank's file
is another one. Implements `cache_store.participate.Tune` around this pod's own tune.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from autotune_init.background_tune import BackgroundTune
from autotune_init.tuners import Coverage, TuneResult
from cache_store.bundle import BadBundle, Bundle
from cache_store.clock import Clock
from cache_store.dataclass import dataclass
from cache_store.errors import ErrorKind, StoreError
from cache_store.identity import Address
from cache_store.objects import Missing, ObjectStore
from cache_store.part import MAX_PART_BYTES, BadPart, Part, inline, parse_part, part_key
from cache_store.rank_file import BadRankFile
from cache_store.steps import Failed, Finished, StillRunning

FIRST_LOOK_S = 1.0
LONGEST_LOOK_S = 10.0

# least first: a bundle is as well checked as its worst part
_VERIFIED = ("", "metadata", "loads", "profiles-zero")


@dataclass(frozen=True)
class Contribution:
    """What this pod's own tune gave, and how many seconds it took."""

    result: TuneResult
    tune_s: float


@dataclass(frozen=True)
class Share:
    """Where the group meets: `group` is the claim's holder, `pod` this one's number in it, `size` how many there are."""

    store: ObjectStore
    address: Address
    group: str
    pod: int
    size: int


class GroupTune:
    """`gather_until` is a point on the clock: how long the leader waits for the others' parts."""

    def __init__(
        self,
        own: BackgroundTune[Contribution],
        share: Share,
        compose: Callable[[TuneResult, float], Finished],
        *,
        clock: Clock,
        gather_until: float,
    ) -> None:
        self._own = own
        self._share = share
        self._compose = compose
        self._clock = clock
        self._gather_until = gather_until
        self._look_s = FIRST_LOOK_S
        self._parts: dict[tuple[int, int], Part] = {}

    def run_for(self, max_s: float, epoch: int) -> StillRunning | Finished | Failed:
        until = self._clock.monotonic() + max_s
        own = self._own.run_for(max_s, epoch)
        if isinstance(own, StillRunning):
            return own
        if self._share.pod > 0:
            return self._give(own, epoch)
        if isinstance(own, Failed):
            return own
        return self._gather(own, epoch, until)

    def cancel(self) -> None:
        self._own.cancel()

    def _give(self, own: Contribution | Failed, epoch: int) -> Finished | Failed | StillRunning:
        """Leave this pod's part. A store that is away for a moment is asked again."""
        share = self._share
        head = {"group": share.group, "epoch": epoch, "pod": share.pod}
        try:
            part = _part_of(own, head)
        except BadPart as problem:
            own = Failed("tuner-bad-file", str(problem))
            part = _part_of(own, head)
        try:
            # one that is there already is this pod's own, of a run that ended before it could hear so
            share.store.put_if_absent(part_key(share.address, epoch, share.pod), part.encode())
        except StoreError as error:
            if error.is_retryable and self._clock.monotonic() < self._gather_until:
                self._clock.sleep(FIRST_LOOK_S)
                return StillRunning()
            return Failed("tuner-part-unwritten", str(error))
        return own if isinstance(own, Failed) else Finished(_never)

    def _gather(self, own: Contribution, epoch: int, until: float) -> Finished | Failed | StillRunning:
        while True:
            failed = self._look(epoch)
            if failed is not None:
                return failed
            missing = self._missing(epoch)
            if not missing:
                return self._together(own, epoch)
            now = self._clock.monotonic()
            if now >= self._gather_until:
                names = ", ".join(map(str, missing))
                return Failed("tuner-group-incomplete", f"pod {names} of the group gave no part of the tune")
            if now >= until:
                return StillRunning()
            self._clock.sleep(min(self._look_s, max(0.05, until - now)))
            self._look_s = min(LONGEST_LOOK_S, self._look_s * 1.5)

    def _missing(self, epoch: int) -> list[int]:
        return [pod for pod in range(1, self._share.size) if (epoch, pod) not in self._parts]

    def _look(self, epoch: int) -> Failed | None:
        """Read what has come since. A part that is no part of this tune ends it: nobody would write another one."""
        share = self._share
        for pod in self._missing(epoch):
            try:
                seen = share.store.get(part_key(share.address, epoch, pod), limit_bytes=MAX_PART_BYTES)
                if isinstance(seen, Missing):
                    continue
                part = parse_part(seen.body, group=share.group, epoch=epoch, pod=pod)
            except StoreError as error:
                if error.kind is ErrorKind.TOO_LARGE:
                    return Failed("tuner-bad-part", f"pod {pod}: {error}")
                continue  # asked again until `gather_until`
            except BadPart as problem:
                return Failed("tuner-bad-part", f"pod {pod}: {problem}")
            if part.failure is not None:
                return Failed("tuner-group-failed", f"pod {pod}: {part.failure}"[:500])
            self._parts[epoch, pod] = part
        return None

    def _together(self, own: Contribution, epoch: int) -> Finished | Failed:
        parts = [self._parts[epoch, pod] for pod in range(1, self._share.size)]
        files = dict(own.result.files)
        for part in parts:
            twice = sorted(
                name for name in part.ranks if name in files and files[name] != part.contents[name]
            )
            if twice:
                return Failed(
                    "tuner-bad-part", f"pod {part.pod} brought another {twice[0]} than an earlier pod"
                )
            files.update(part.contents)
        excluded: dict[str, str] = dict(own.result.coverage.excluded)
        for part in parts:
            excluded.update(part.excluded)
        verified = min([own.result.verified, *(part.verified for part in parts)], key=_strength)
        result = TuneResult(files, _with(own.result.coverage, excluded), verified)
        try:
            return self._compose(result, max([own.tune_s, *(part.tune_s for part in parts)]))
        except (BadRankFile, BadBundle) as problem:
            return Failed("tuner-group-disagrees", f"{problem.reason}: {problem.detail}")


def _part_of(own: Contribution | Failed, head: Mapping[str, object]) -> Part:
    if isinstance(own, Failed):
        return Part.model_validate({**head, "failure": f"{own.reason}: {own.detail}"[:2000]})
    ranks, files = inline(own.result.files)
    told = {
        "verified": own.result.verified,
        "tune_s": own.tune_s,
        "excluded": dict(own.result.coverage.excluded),
    }
    return Part.model_validate({**head, **told, "ranks": ranks, "files": files})


def _strength(verified: str) -> int:
    return _VERIFIED.index(verified) if verified in _VERIFIED else 0


def _with(coverage: Coverage, excluded: Mapping[str, str]) -> Coverage:
    return Coverage(coverage.ops, coverage.entries, coverage.max_bucket, excluded)


def _never(epoch: int, nonce: str) -> Bundle:
    raise AssertionError(f"only the group's leader composes a bundle (epoch {epoch}, {nonce})")
