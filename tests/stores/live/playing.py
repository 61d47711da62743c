"""One pod's way on a store, as the program goes it: its access to the store with the probe, the protocol, a tune."""

import random
import threading

from tests.bundles import bundle, identity

from autotune_init.settings import Settings
from autotune_init.store_access import StoreAccess
from cache_store.claim import Rules
from cache_store.clock import SystemClock, fresh_nonce
from cache_store.coordination import Participant
from cache_store.lookup import look_up
from cache_store.participate import Driver
from cache_store.steps import Finished, StillRunning

RULES = Rules(
    lease_s=6.0, renew_s=0.5, margin_s=1.0, max_hold_s=60.0, poll_s=0.3, start_jitter_s=0.2, cooldown_s=5.0
)
TUNE_S = 1.0


class ShortTune:
    def __init__(self, begun, seconds=TUNE_S):
        self.begun, self.left = begun, seconds
        self.has_begun = False

    def run_for(self, max_s, epoch):
        if not self.has_begun:
            self.has_begun = True
            self.begun.append(epoch)
        threading.Event().wait(min(max_s, self.left))
        self.left -= max_s
        if self.left > 0:
            return StillRunning()
        return Finished(lambda epoch, nonce: bundle(epoch=epoch, nonce=nonce))

    def cancel(self):
        pass


def play_pod(url, environ, adapter, tunes, *, seed=1, wait_s=40.0, timeout_s=5.0, who=None):
    """The outcome; each tune that began adds its epoch to `tunes`."""
    clock, who = SystemClock(), who or identity()
    settings = Settings(store=url, store_adapter=adapter, request_timeout_s=timeout_s)
    access = StoreAccess(settings, environ, clock)
    try:
        store = access.open()
        participant = Participant(
            holder=f"pod-{seed}",
            rules=RULES,
            rng=random.Random(seed),
            nonce=fresh_nonce,
            monotonic=clock.monotonic,
            now=clock.now,
            wait_until=clock.monotonic() + wait_s,
            deadline=clock.monotonic() + 2 * wait_s,
        )
        driver = Driver(
            store, who, tune=ShortTune(tunes), check_store=lambda: access.check(store), clock=clock
        )
        return driver.drive(participant, look_up(store, who))
    finally:
        access.close()


def play_fleet(count, play):
    """What `play(number)` gave, for `count` at once."""
    ends = []

    def one(number):
        try:
            ends.append(play(number))
        except BaseException as error:  # shown by whoever looks at the outcomes
            ends.append(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(180)
    assert len(ends) == count
    return ends
