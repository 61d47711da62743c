"""One pod of a replica of several: it installs what its whole group installs, or nothing.

    look up | wait | tune -> fetch, check -> stage beside the place -> settle with the others -> rename | discard

One warm and one cold pod can hang an engine, so age and comfort of a single pod's files count for nothing here: what
lies in the directory and is not what the group decided is moved aside.
"""

from __future__ import annotations

from pathlib import Path

from autotune_init.flow import Prepared, prepare
from autotune_init.group_mark import Mark, read_mark, remove_mark, write_mark
from autotune_init.installing import Installing, installing_of
from autotune_init.local_files import FileState, LocalSet
from autotune_init.outcomes import Outcome
from autotune_init.place import PlaceFailed, Staged, move_aside
from autotune_init.plan import End, Participate, Place, after_lookup
from autotune_init.pod_start import Ending, Membership, Pod, Tools
from cache_store.dataclass import dataclass, replace
from cache_store.errors import StoreError
from cache_store.group_roll import Offer
from cache_store.lookup import look_up, unreachable
from cache_store.objects import ObjectStore
from cache_store.register import Unreachable
from cache_store.settle_on_store import leave_torn, settle
from cache_store.settling import Apart, SettleOutcome, Settling, Together, Torn
from cache_store.steps import Done

TORN = "group-torn"
SPLIT = "group-split"
SLACK_S = 3.0  # a settling ends this long before the flow is told to stop


@dataclass(frozen=True)
class Ready:
    """A bundle that this pod could install now; None in `staged` where it has nothing to write."""

    place: Place
    warnings: tuple[str, ...] = ()
    staged: Staged | None = None


def warm_together(pod: Pod, group: Membership, tools: Tools) -> Ending:
    """Run one pod of a group to its ending. Raises `Cancelled` when told to stop; then nothing was placed."""
    try:
        installing = installing_of(pod.cache, pod.identity.environment.metadata, pod.ownership)
    except OSError as error:
        return Ending(Outcome.COLD, "cache-dir-unreadable", f"{error.filename}: {error.strerror}")
    mark = read_mark(installing.local.directory, group.incarnation)
    if mark == "warm" and installing.local.is_complete:
        return Ending(Outcome.LOCAL, "complete", "this pod had installed what its group decided")
    if mark is not None:
        group.bind()  # from the first step on: a store that hangs may eat the whole deadline
    if tools.open_store is None:
        return _cold(installing, "no-store", "no --store was given")
    try:
        store = tools.open_store()
    except StoreError as error:
        return _cold(installing, unreachable(error).reason, str(error))
    try:
        return _Pod(pod, group, tools, installing, store, mark).to_the_end()
    finally:
        store.close()


@dataclass(frozen=True)
class _Pod:
    pod: Pod
    group: Membership
    tools: Tools
    installing: Installing
    store: ObjectStore
    mark: str | None

    def to_the_end(self) -> Ending:
        offered = self._offer()
        try:
            outcome = self._settle(offered)
        except BaseException:
            _discard(offered)
            raise
        if isinstance(outcome, Together) and isinstance(offered, Ready):
            return self._install(offered)
        _discard(offered)
        if isinstance(outcome, Apart):
            return self._apart(outcome, offered)
        return self._torn(outcome if isinstance(outcome, Torn) else Torn(TORN, "nothing to install"))

    def _offer(self) -> Ready | End:
        """What this pod could install, on the disk already; or why it cannot."""
        takes_part = self.tools.waits or self.tools.tuner is not None
        step: End | Participate | Place
        step = after_lookup(look_up(self.store, self.pod.identity), takes_part=takes_part)
        self.tools.clock.sleep(0)
        if isinstance(step, Participate):
            from autotune_init.take_part import participate  # as in flow.py

            step = participate(step, self.store, self.pod, self.tools, self.installing)
        if isinstance(step, End):
            return step
        if step.reason == "unpublished":
            return End(
                Outcome.COLD, "group-unpublished", f"the others cannot have this pod's result: {step.detail}"
            )
        if step.bundle.is_empty:
            return Ready(step)
        prepared = prepare(step, self.store, self.pod, self.installing)
        if not isinstance(prepared, Prepared):
            return prepared
        try:
            staged = self.installing.stage(prepared.contents, nonce=self.tools.nonce())
        except PlaceFailed as failure:
            return End(Outcome.COLD, failure.reason, failure.detail)
        return Ready(step, prepared.warnings, staged)

    def _settle(self, offered: Ready | End) -> SettleOutcome:
        clock, group = self.tools.clock, self.group
        deadline = self.pod.deadline - SLACK_S
        settling = Settling(
            group.place,
            _offer_of(offered, group),
            patience_s=group.patience_s,
            patience_until=clock.monotonic() + group.patience_s,
            deadline=deadline,
            is_bound=self.mark is not None,
            rng=self.tools.rng,
            nonce=self.tools.nonce,
            monotonic=clock.monotonic,
            now=clock.now,
        )
        outcome = settle(
            self.store,
            settling,
            clock,
            bind=self._bind,
            check_store=lambda: self.tools.check_store(self.store),
        )
        if isinstance(outcome, Apart):
            group.release()
        return outcome

    def _bind(self) -> Done | Unreachable:
        directory = self.installing.local.directory
        try:
            if (
                directory.is_dir()
            ):  # an empty bundle needs no directory, and no memory: there is nothing to install
                write_mark(directory, Mark(self.group.incarnation, "bound"))
        except OSError as error:
            return Unreachable("place-failed", f"{directory}: {error.strerror}", is_final=True)
        self.group.bind()
        return Done()

    def _install(self, ready: Ready) -> Ending:
        step = ready.place
        ending = Ending(step.outcome, step.reason, step.detail, bundle=step.bundle, warnings=ready.warnings)
        if ready.staged is None:
            self.group.release()
            return replace(ending, moved_aside=_clear(self.installing.local))
        try:
            placed = ready.staged.commit()
        except PlaceFailed as failure:
            return self._torn(Torn(TORN, f"{failure.reason}: {failure.detail}"))
        self.group.release()
        _remember(self.installing, self.group, "warm")
        return replace(ending, placed=placed, moved_aside=placed.moved_aside)

    def _torn(self, torn: Torn) -> Ending:
        """Once, an exit code; the second time in the same pod, cold beside whatever the others are."""
        if self.mark != "torn":
            offer = Offer(self.group.rank, self.group.incarnation, None)
            leave_torn(self.store, self.group.place, offer, self.tools.nonce())
            # remembered last: were the deadline to come between, this very start would be taken for the second one
            if _remember(self.installing, self.group, "torn"):
                return Ending(Outcome.COLD, TORN, torn.detail)
        self.group.release()
        detail = f"{torn.detail}; restarting this pod once has not helped"
        return _cold(self.installing, SPLIT, detail)

    def _apart(self, apart: Apart, offered: Ready | End) -> Ending:
        remove_mark(self.installing.local.directory)
        if isinstance(offered, End):
            ending = _cold(self.installing, offered.reason, offered.detail)
            return replace(ending, outcome=offered.outcome, tail=offered.tail)
        return replace(_cold(self.installing, apart.reason, apart.detail), bundle=offered.place.bundle)


def torn_by_deadline(pod: Pod, group: Membership) -> Ending:
    """The run of a pod that the others may count on was ended before it knew their decision."""
    directory = Path(pod.cache.directory)
    detail = "the deadline passed before this pod knew its group's decision"
    if read_mark(directory, group.incarnation) != "torn":
        try:
            write_mark(directory, Mark(group.incarnation, "torn"))
        except OSError:
            return Ending(Outcome.COLD, SPLIT, detail)
        return Ending(Outcome.COLD, TORN, detail)
    return Ending(Outcome.COLD, SPLIT, f"{detail}; restarting it once has not helped")


def _offer_of(offered: Ready | End, group: Membership) -> Offer:
    if isinstance(offered, End):
        problem = f"{offered.reason}: {offered.detail}"
        return Offer(group.rank, group.incarnation, None, problem)
    return Offer(group.rank, group.incarnation, offered.place.bundle.nonce)


def _discard(offered: Ready | End) -> None:
    if isinstance(offered, Ready) and offered.staged is not None:
        offered.staged.discard()


def _remember(installing: Installing, group: Membership, state: str) -> bool:
    try:
        write_mark(installing.local.directory, Mark(group.incarnation, state))
    except OSError:
        return False
    return True


def _cold(installing: Installing, reason: str, detail: str) -> Ending:
    return Ending(Outcome.COLD, reason, detail, moved_aside=_clear(installing.local))


def _clear(local: LocalSet) -> dict[str, str]:
    """A pod that is cold with its group must be cold: what the engine would load goes out of its way, and is kept."""
    moved: dict[str, str] = {}
    for found in local.in_state(FileState.VALID, FileState.CORRUPT):
        try:
            moved[found.name] = move_aside(local.directory, found.name)
        except OSError:
            continue  # read-only: the engine meets it as it would have without us
    return moved
