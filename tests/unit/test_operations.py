"""An operator's steps on a store in memory: what they leave, what they refuse, and what a bad network makes of them."""

import json
import random
from dataclasses import replace

import pytest
from tests.bundles import H200, bundle, identity, rank_file, tombstone

from cache_store.bundle import Bundle, Tombstone, digest_of
from cache_store.bundle_json import parse_register
from cache_store.claim import MAX_CLAIM_BYTES, MAX_EPOCH, Claim, parse_claim
from cache_store.errors import ErrorKind
from cache_store.objects import Missing, StoredObject
from cache_store.objects.memory import MemoryStore
from cache_store.operate import operate
from cache_store.operation_steps import Changed, Order, Refused, Unchanged
from cache_store.operations import Operator
from cache_store.testing.clock import ManualClock
from cache_store.testing.faulty import AppliesLate, Fails, Fault, FaultyStore, LosesAnswer, Says

PLACE = identity().address


class Desk:
    """A store, and a person who operates on it."""

    def __init__(self):
        self.clock = ManualClock()
        self.memory = MemoryStore(self.clock)
        self.store = FaultyStore(self.memory, clock=self.clock)
        self.nonces = (f"op{number}" for number in range(1000))
        self.order = Order("ann", "bad tactic")

    def put(self, key, body):
        self.memory.put_if_absent(key, body)

    def publish(self, **changes):
        made = bundle(**changes)
        self.put(PLACE.bundle_key, made.encode())
        return made

    def do(self, name, *, is_dry=False, **options):
        operator = Operator(
            PLACE,
            replace(self.order, is_dry=is_dry),
            rng=random.Random(1),
            nonce=lambda: next(self.nonces),
            now=self.clock.now,
        )
        return operate(self.store, PLACE, getattr(operator, name)(**options), self.clock)

    def bytes_of(self, name):
        found = self.memory.get(f"{PLACE}/{name}", limit_bytes=10**8)
        return found.body if isinstance(found, StoredObject) else None

    @property
    def register(self):
        return parse_register(self.bytes_of("bundle.json"))

    @property
    def claim(self):
        return parse_claim(self.bytes_of("claim.json"))


@pytest.fixture
def desk():
    return Desk()


# -- retire, quarantine --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "after"), [("retire", "retired"), ("quarantine", "quarantined")])
def test_what_a_tombstone_says(desk, name, after):
    was = desk.publish(epoch=7)
    desk.clock.advance(60)

    done = desk.do(name)

    found = desk.register
    assert done == Changed("published", after, found.nonce, "retired/nnnnnnnn.json")
    assert (found.reason, found.retired_by, found.may_retune) == ("bad tactic", "ann", name == "retire")
    assert found.retired_at == desk.clock.now().isoformat()
    assert (found.epoch, found.identity, found.ranks) == (7, was.identity, was.ranks)
    assert found.expected_tune_s == 93.5
    assert desk.bytes_of(found.retired_copy) == was.encode()


@pytest.mark.parametrize(
    ("first", "then", "options", "verdict"),
    [
        ("retire", "retire", {}, Unchanged),
        ("quarantine", "quarantine", {}, Unchanged),
        ("retire", "quarantine", {}, Changed),
        ("quarantine", "retire", {}, Refused),
        ("quarantine", "retire", {"even_quarantined": True}, Changed),
        ("quarantine", "restore", {}, Refused),
        ("quarantine", "restore", {"even_quarantined": True}, Changed),
        ("retire", "restore", {}, Changed),
    ],
)
def test_one_after_the_other(desk, first, then, options, verdict):
    was = desk.publish()
    before = desk.do(first)

    done = desk.do(then, **options)

    assert type(done) is verdict
    if isinstance(desk.register, Tombstone):
        assert desk.register.retired_copy == before.copy
        assert desk.register.ranks == was.ranks
    assert (desk.register.nonce == before.nonce) == (verdict is not Changed)


def test_a_bundle_that_nobody_can_read_can_be_retired(desk):
    desk.put(PLACE.bundle_key, b'{"schema": "autotune-cache/bundle/v9"}')

    done = desk.do("retire")

    assert isinstance(done, Changed)
    assert done.before == "unreadable"
    assert desk.bytes_of(done.copy) == b'{"schema": "autotune-cache/bundle/v9"}'
    assert desk.do("restore").reason == "bundle-unknown-schema"


def test_a_nonce_that_is_no_file_name_is_not_made_one(desk):
    desk.publish(nonce="../../other/bundle")

    done = desk.do("retire")

    assert done.copy.startswith("retired/")
    assert ".." not in done.copy
    assert desk.bytes_of(done.copy) is not None


@pytest.mark.parametrize("name", ["retire", "quarantine", "restore"])
def test_where_nothing_is(desk, name):
    assert desk.do(name).reason == "not-found"
    assert list(desk.memory.list("")) == []


@pytest.mark.parametrize("name", ["retire", "quarantine", "restore", "unlock"])
def test_a_dry_run_says_the_same_and_writes_nothing(desk, name):
    desk.publish()
    desk.put(
        PLACE.claim_key, Claim(state="held", epoch=3, counter=1, nonce="c", holder="p", lease_s=60).encode()
    )
    if name == "restore":
        desk.do("retire")
    before = {entry.key: desk.memory.get(entry.key, limit_bytes=10**6).etag for entry in desk.memory.list("")}

    would = desk.do(name, is_dry=True)

    assert would.is_dry
    assert before == {
        entry.key: desk.memory.get(entry.key, limit_bytes=10**6).etag for entry in desk.memory.list("")
    }
    did = desk.do(name)
    assert (did.before, did.after, did.copy) == (would.before, would.after, would.copy)


# -- restore -------------------------------------------------------------------------------------------------------


def test_what_is_restored_is_the_bundle_with_a_nonce_and_a_note_of_its_own(desk):
    was = desk.publish()
    desk.do("retire")

    done = desk.do("restore")

    found = desk.register
    assert isinstance(found, Bundle)
    assert found.nonce == done.nonce != was.nonce
    assert (found.provenance.restored_by, found.provenance.restored_why) == ("ann", "bad tactic")
    assert found.provenance.restored_at
    plain = {"nonce": was.nonce, "provenance": was.provenance}
    assert replace(found, **plain) == was


def test_fields_of_a_later_release_stay_in_what_is_restored(desk):
    document = json.loads(bundle().encode()) | {"of_a_later_release": 1}
    desk.put(PLACE.bundle_key, json.dumps(document).encode())
    desk.do("retire")
    desk.do("restore")

    assert json.loads(desk.bytes_of("bundle.json"))["of_a_later_release"] == 1


def test_another_copy_can_be_restored_by_name(desk):
    first = desk.publish(nonce="first")
    desk.do("retire")
    tag = desk.memory.get(PLACE.bundle_key, limit_bytes=10**6).etag
    desk.memory.put_if_match(PLACE.bundle_key, bundle(nonce="second", holder="pod-b").encode(), tag)
    desk.do("retire")

    desk.do("restore", copy="retired/first.json")

    assert desk.register.provenance.holder == first.provenance.holder == "pod-a"


@pytest.mark.parametrize(
    "name", ["retired/absent.json", "bundle.json", "retired/../bundle.json", "../x.json"]
)
def test_a_copy_that_is_none(desk, name):
    desk.publish()
    desk.do("retire")

    assert desk.do("restore", copy=name).reason == "no-copy"


def test_a_copy_of_another_bundle_is_not_put_here(desk):
    desk.publish()
    done = desk.do("retire")
    desk.memory.delete(f"{PLACE}/{done.copy}")
    desk.put(f"{PLACE}/{done.copy}", bundle(who=identity(H200)).encode())

    assert desk.do("restore").reason == "bundle-foreign"


def test_a_tombstone_without_a_copy(desk):
    desk.put(PLACE.bundle_key, tombstone().encode())

    assert desk.do("restore").reason == "no-copy"


def test_what_was_published_meanwhile_is_not_replaced_by_a_restore(desk):
    desk.publish()
    desk.do("retire")
    tag = desk.memory.get(PLACE.bundle_key, limit_bytes=10**6).etag
    desk.memory.put_if_match(PLACE.bundle_key, bundle(nonce="new").encode(), tag)

    assert desk.do("restore").state == "published"
    assert desk.register.nonce == "new"


# -- unlock --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["held", "failed"])
def test_an_unlocked_claim_is_free_under_a_larger_epoch(desk, state):
    claim = Claim(state=state, epoch=3, counter=9, nonce="c", holder="pod", lease_s=30, cooldown_s=600)
    desk.put(PLACE.claim_key, claim.encode())

    done = desk.do("unlock")

    found = desk.claim
    assert (done.before, done.after) == (state, "released")
    assert (found.state, found.epoch, found.counter, found.nonce) == ("released", 4, 10, done.nonce)
    assert found.holder == "unlocked by ann"
    assert found.error == "bad tactic"


@pytest.mark.parametrize("state", ["released", "done"])
def test_a_claim_that_nobody_holds_is_left_alone(desk, state):
    desk.put(
        PLACE.claim_key, Claim(state=state, epoch=3, counter=9, nonce="c", holder="p", lease_s=30).encode()
    )

    assert desk.do("unlock").state == state
    assert desk.claim.epoch == 3


def test_no_claim(desk):
    assert desk.do("unlock") == Unchanged("free", "nobody ever claimed it")


@pytest.mark.parametrize(
    ("body", "epoch"),
    [
        (b"{", 1),
        (b'{"schema": "autotune-cache/claim/v9", "epoch": 41}', 42),
        (b'{"epoch": -5}', 1),
        (b'{"epoch": "many"}', 1),
        (b'{"epoch": 8, "junk": "' + b"x" * MAX_CLAIM_BYTES + b'"}', 9),
        (b"[" * 5000 + b"]" * 5000, 1),
    ],
)
def test_a_claim_that_nobody_understands_can_be_ended_and_keeps_its_epoch_where_it_has_one(desk, body, epoch):
    desk.put(PLACE.claim_key, body)

    done = desk.do("unlock")

    assert (done.before, desk.claim.state, desk.claim.epoch) == ("unreadable", "released", epoch)


# -- a bad network -------------------------------------------------------------------------------------------------

HARMLESS = {
    "lost before": Fails(ErrorKind.UNAVAILABLE),
    "lost after": LosesAnswer(),
    "409, not written": Says(409),
    "412, not written": Says(412),
    "412 for its own success": Says(412, is_applied=True),
    "late": AppliesLate(1.0),
}
CHANGES = [
    ("retire", "put_if_absent"),
    ("retire", "put_if_match"),
    ("restore", "put_if_match"),
    ("unlock", "put_if_match"),
]


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("effect", HARMLESS)
@pytest.mark.parametrize(("name", "operation"), CHANGES)
def test_given_a_write_with_a_bad_answer_when_it_is_read_back_then_it_is_done_once(
    desk, name, operation, effect, times
):
    desk.publish()
    desk.put(
        PLACE.claim_key, Claim(state="held", epoch=3, counter=1, nonce="c", holder="p", lease_s=60).encode()
    )
    if name == "restore":
        desk.do("retire")
    desk.store.script(Fault(operation, HARMLESS[effect], times=times))

    done = desk.do(name)
    desk.store.settle()

    assert isinstance(done, Changed), done
    assert desk.store.used
    assert (desk.claim if name == "unlock" else desk.register).nonce == done.nonce


@pytest.mark.parametrize(("name", "operation"), CHANGES)
@pytest.mark.parametrize("kind", [ErrorKind.DENIED, ErrorKind.UNAVAILABLE])
def test_given_a_store_that_takes_no_write_then_all_is_as_it_was_and_it_says_so(desk, name, operation, kind):
    desk.publish()
    desk.put(
        PLACE.claim_key, Claim(state="held", epoch=3, counter=1, nonce="c", holder="p", lease_s=60).encode()
    )
    if name == "restore":
        desk.do("retire")
    before = desk.bytes_of("bundle.json"), desk.bytes_of("claim.json")
    desk.store.script(Fault(operation, Fails(kind), times=100))

    done = desk.do(name)

    assert isinstance(done, Refused)
    assert done.reason == f"store-{kind.value}"
    assert done.is_unsettled == (kind is ErrorKind.UNAVAILABLE and operation == "put_if_match")
    assert (desk.bytes_of("bundle.json"), desk.bytes_of("claim.json")) == before


@pytest.mark.parametrize("name", ["retire", "restore", "unlock"])
def test_given_somebody_who_writes_between_look_and_swap_then_nothing_is_done(desk, name):
    desk.publish()
    desk.put(
        PLACE.claim_key, Claim(state="held", epoch=3, counter=1, nonce="c", holder="p", lease_s=60).encode()
    )
    if name == "restore":
        desk.do("retire")
    key = PLACE.claim_key if name == "unlock" else PLACE.bundle_key
    theirs = {
        "retire": tombstone(nonce="theirs"),
        "restore": bundle(nonce="theirs"),
        "unlock": Claim(state="held", epoch=3, counter=2, nonce="theirs", holder="p", lease_s=60),
    }[name].encode()
    put = desk.store.put_if_match

    def put_after_theirs(*args):
        desk.memory.put_if_match(key, theirs, desk.memory.get(key, limit_bytes=10**6).etag)
        return put(*args)

    desk.store.put_if_match = put_after_theirs
    done = desk.do(name)

    assert done.reason == "changed-meanwhile"
    assert desk.memory.get(key, limit_bytes=10**6).body == theirs


def test_given_a_bundle_that_is_deleted_between_look_and_swap_then_no_tombstone_takes_its_place(desk):
    desk.publish()
    put = desk.store.put_if_match

    def put_after_deletion(*args):
        desk.memory.delete(PLACE.bundle_key)
        return put(*args)

    desk.store.put_if_match = put_after_deletion

    assert desk.do("retire").reason == "changed-meanwhile"
    assert isinstance(desk.memory.get(PLACE.bundle_key, limit_bytes=10), Missing)


def test_given_another_object_in_the_copys_place_then_the_bundle_stays(desk):
    was = desk.publish()
    desk.put(f"{PLACE}/retired/nnnnnnnn.json", b"something else")

    assert desk.do("retire").reason == "copy-differs"
    assert desk.register == was


def test_given_a_copy_that_somebody_kept_before_then_it_is_good(desk):
    was = desk.publish()
    desk.put(f"{PLACE}/retired/nnnnnnnn.json", was.encode())

    assert isinstance(desk.do("retire"), Changed)


# -- what lies beside, and what could not be read again ------------------------------------------------------------

BODY = rank_file()
DIGEST = digest_of(BODY)


@pytest.mark.parametrize(
    ("left", "reason"),
    [
        (None, "blob-missing"),
        (BODY[:-1], "bundle-digest-mismatch"),
        (BODY + b" ", "blob-too-large"),
        (BODY, None),
    ],
)
@pytest.mark.parametrize("is_dry", [False, True])
def test_given_a_spoiled_blob_when_restored_then_the_tombstone_stays(desk, left, reason, is_dry):
    made = replace(bundle(), files={}, blobs={DIGEST: len(BODY)})
    desk.put(PLACE.bundle_key, made.encode())
    desk.do("retire")
    if left is not None:
        desk.put(PLACE.blob_key(DIGEST), left)

    done = desk.do("restore", is_dry=is_dry)

    assert getattr(done, "reason", None) == reason
    assert isinstance(desk.register, Tombstone if reason or is_dry else Bundle)


@pytest.mark.parametrize("reason", ["x" * 70_000, "half a \udce9 character"])
@pytest.mark.parametrize("name", ["retire", "quarantine", "restore"])
def test_given_words_that_no_reader_takes_when_operated_then_nothing_is_written(desk, name, reason):
    desk.publish()
    if name == "restore":
        desk.do("retire")
    before = desk.bytes_of("bundle.json")
    desk.order = Order("ann", reason)

    assert desk.do(name).reason in ("unwritable", "bundle-corrupt")
    assert desk.bytes_of("bundle.json") == before


@pytest.mark.parametrize("epoch", [MAX_EPOCH, MAX_EPOCH + 1, 10**300])
def test_given_an_epoch_that_can_grow_no_further_when_unlocked_then_it_is_refused(desk, epoch):
    body = json.dumps({**json.loads(held().encode()), "epoch": epoch}).encode()
    desk.put(PLACE.claim_key, body)

    assert desk.do("unlock").reason == "claim-exhausted"
    assert desk.bytes_of("claim.json") == body


def test_given_the_last_epoch_but_one_when_unlocked_then_its_claim_can_be_read(desk):
    desk.put(PLACE.claim_key, held(epoch=MAX_EPOCH - 1, counter=MAX_EPOCH).encode())

    assert isinstance(desk.do("unlock"), Changed)
    assert desk.claim.epoch == MAX_EPOCH


def held(**changes):
    fields = {"state": "held", "epoch": 1, "counter": 1, "nonce": "n", "holder": "pod-a", "lease_s": 60.0}
    return Claim(**(fields | changes))
