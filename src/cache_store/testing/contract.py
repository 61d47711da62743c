"""What every `ObjectStore` must do, as tests to inherit: a new adapter brings a fixture and no tests of its own.

    class TestMine(ObjectStoreContract):
        @pytest.fixture
        def store(self): ...

`store` must be empty. Have pytest rewrite this module's asserts: `register_assert_rewrite("cache_store.testing.contract")`.
"""
# ruff: noqa: S101 -- it is a test suite

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from cache_store.errors import ErrorKind, StoreError
from cache_store.objects import MIB, Missing, NotWritten, ObjectStore, StoredObject, Written

BAD_KEYS = ("", "/a", "a/", "a//b", "..", "a/../b", "./a", "a\0b", "a\nb", "x" * 1025)
ODD_KEYS = (
    ".hidden",
    "a b",
    "a%20b",
    "a+b",
    "a,b;c",
    "back\\slash",
    "brace{x}",
    "dots...",
    "equals=1&two",
    "hash#tag",
    "quote'\"q",
    "star*",
    "v1:2@x",
    "what?now",
    "~tilde",
    "ü/é",
)
WRONG_ETAG = '"00000000000000000000000000000000"'


@contextmanager
def raises(kind: ErrorKind) -> Iterator[None]:
    """The block ends in a `StoreError` of this kind, and in nothing else."""
    try:
        yield
    except StoreError as error:
        if error.kind is not kind:
            raise AssertionError(f"{error} instead of {kind.value}") from error
    else:
        raise AssertionError(f"nothing was raised instead of {kind.value}")


def all_at_once(count: int, call: Callable[[int], Written | NotWritten]) -> list[Written | NotWritten]:
    """What `count` threads were answered that called at the same moment."""
    barrier = threading.Barrier(count)
    answers: list[Written | NotWritten | BaseException | None] = [None] * count

    def work(position: int) -> None:
        barrier.wait()
        try:
            answers[position] = call(position)
        except BaseException as error:  # noqa: BLE001 -- carried to the test's thread
            answers[position] = error

    threads = [threading.Thread(target=work, args=(position,)) for position in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    settled: list[Written | NotWritten] = []
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
        assert answer is not None
        settled.append(answer)
    return settled


def _create(store: ObjectStore, key: str, me: int) -> Written | NotWritten:
    return store.put_if_absent(key, b"by %d" % me)


def _replace(store: ObjectStore, key: str, etag: str, number: int, me: int) -> Written | NotWritten:
    return store.put_if_match(key, b"%d by %d" % (number, me), etag)


class ObjectStoreContract:
    """Knobs for slow servers: `racers`, `race_rounds`, `many` (objects in one listing), `large_bytes`."""

    racers = 16
    race_rounds = 5
    many = 30
    large_bytes = 8 * MIB

    # -- reading and creating ------------------------------------------------------------------------------------

    def test_nothing_is_missing(self, store: ObjectStore) -> None:
        assert isinstance(store.get("a/b", limit_bytes=10), Missing)

    def test_what_was_created_is_read_back(self, store: ObjectStore) -> None:
        written = self.created(store, "a/b/c.json", b'{"a": 1}')
        seen = self.seen(store, "a/b/c.json")
        assert seen.body == b'{"a": 1}'
        assert seen.etag == written.etag

    def test_a_second_create_is_refused_and_changes_nothing(self, store: ObjectStore) -> None:
        self.created(store, "k", b"first")
        answer = store.put_if_absent("k", b"second")
        assert isinstance(answer, NotWritten)
        assert answer.status in {409, 412}
        assert self.seen(store, "k").body == b"first"

    def test_a_deleted_object_can_be_created_again(self, store: ObjectStore) -> None:
        self.created(store, "k", b"first")
        store.delete("k")
        assert isinstance(store.get("k", limit_bytes=10), Missing)
        self.created(store, "k", b"second")
        assert self.seen(store, "k").body == b"second"

    def test_an_empty_body_is_an_object(self, store: ObjectStore) -> None:
        self.created(store, "empty", b"")
        assert self.seen(store, "empty").body == b""
        assert isinstance(store.put_if_absent("empty", b"x"), NotWritten)

    def test_any_byte_survives(self, store: ObjectStore) -> None:
        body = bytes(range(256)) * 3 + b"\r\n\0"
        self.created(store, "k", body)
        assert self.seen(store, "k").body == body

    def test_a_large_body_survives(self, store: ObjectStore) -> None:
        body = b"0123456789abcdef" * (self.large_bytes // 16)
        self.created(store, "large", body)
        seen = store.get("large", limit_bytes=self.large_bytes)
        assert isinstance(seen, StoredObject)
        assert seen.body == body

    def test_the_limit_is_inclusive(self, store: ObjectStore) -> None:
        self.created(store, "k", b"x" * 100)
        assert self.seen(store, "k", limit_bytes=100).body == b"x" * 100
        with raises(ErrorKind.TOO_LARGE):
            store.get("k", limit_bytes=99)

    def test_age_is_by_the_stores_clock_or_unknown(self, store: ObjectStore) -> None:
        self.created(store, "k", b"x")
        age_s = self.seen(store, "k").age_s
        assert age_s is None or 0 <= age_s < 60

    # -- replacing -------------------------------------------------------------------------------------------------

    def test_replacing_what_is_there(self, store: ObjectStore) -> None:
        first = self.created(store, "k", b"first")
        second = self.replaced(store, "k", b"second", first.etag)
        seen = self.seen(store, "k")
        assert (seen.body, seen.etag) == (b"second", second.etag)
        assert second.etag != first.etag

    def test_the_tag_of_a_read_is_good_for_replacing(self, store: ObjectStore) -> None:
        self.created(store, "k", b"first")
        self.replaced(store, "k", b"second", self.seen(store, "k").etag)
        self.replaced(store, "k", b"third", self.seen(store, "k").etag)
        assert self.seen(store, "k").body == b"third"

    def test_a_stale_tag_is_refused_and_changes_nothing(self, store: ObjectStore) -> None:
        first = self.created(store, "k", b"first")
        self.replaced(store, "k", b"second", first.etag)
        answer = store.put_if_match("k", b"third", first.etag)
        assert isinstance(answer, NotWritten)
        assert answer.status in {409, 412}
        assert self.seen(store, "k").body == b"second"

    def test_a_made_up_tag_is_refused(self, store: ObjectStore) -> None:
        self.created(store, "k", b"first")
        assert isinstance(store.put_if_match("k", b"second", WRONG_ETAG), NotWritten)
        assert self.seen(store, "k").body == b"first"

    def test_replacing_nothing_is_refused_and_creates_nothing(self, store: ObjectStore) -> None:
        answer = store.put_if_match("k", b"x", WRONG_ETAG)
        assert isinstance(answer, NotWritten)
        assert answer.status in {404, 409, 412}
        assert isinstance(store.get("k", limit_bytes=10), Missing)

    def test_replacing_what_was_deleted_is_refused(self, store: ObjectStore) -> None:
        first = self.created(store, "k", b"first")
        store.delete("k")
        assert isinstance(store.put_if_match("k", b"second", first.etag), NotWritten)
        assert isinstance(store.get("k", limit_bytes=10), Missing)

    def test_equal_bytes_can_replace_each_other(self, store: ObjectStore) -> None:
        """The tag may stay the same then (S3) or not; the newest one is valid either way."""
        first = self.created(store, "k", b"same")
        second = self.replaced(store, "k", b"same", first.etag)
        assert self.seen(store, "k").etag == second.etag
        self.replaced(store, "k", b"other", second.etag)
        assert self.seen(store, "k").body == b"other"

    # -- keys and listings -----------------------------------------------------------------------------------------

    def test_odd_keys_are_kept_as_they_are(self, store: ObjectStore) -> None:
        for key in ODD_KEYS:
            self.created(store, key, key.encode())
        for key in ODD_KEYS:
            assert self.seen(store, key).body == key.encode()
        assert [entry.key for entry in store.list("")] == sorted(ODD_KEYS)

    def test_bad_keys_are_refused_by_every_verb(self, store: ObjectStore) -> None:
        for key in BAD_KEYS:
            with raises(ErrorKind.INVALID):
                store.get(key, limit_bytes=10)
            with raises(ErrorKind.INVALID):
                store.put_if_absent(key, b"x")
            with raises(ErrorKind.INVALID):
                store.put_if_match(key, b"x", WRONG_ETAG)
            with raises(ErrorKind.INVALID):
                store.delete(key)
        assert list(store.list("")) == []

    def test_listing_an_empty_store(self, store: ObjectStore) -> None:
        assert list(store.list("")) == []
        assert list(store.list("some/where/")) == []

    def test_a_listing_is_in_key_order(self, store: ObjectStore) -> None:
        keys = ["b/2", "a-b", "a/b/c", "a/a", "c", "b/10", "a.b"]
        for key in keys:
            self.created(store, key, b"x")
        assert [entry.key for entry in store.list("")] == sorted(keys)

    def test_a_prefix_is_a_string_and_not_a_folder(self, store: ObjectStore) -> None:
        for key in ("a/bc/1", "a/bd", "a/b/1", "ab", "b/a"):
            self.created(store, key, b"x")
        assert [entry.key for entry in store.list("a/b")] == ["a/b/1", "a/bc/1", "a/bd"]
        assert [entry.key for entry in store.list("a/b/")] == ["a/b/1"]
        assert [entry.key for entry in store.list("a")] == ["a/b/1", "a/bc/1", "a/bd", "ab"]

    def test_a_listing_knows_sizes(self, store: ObjectStore) -> None:
        first = self.created(store, "k", b"x" * 5)
        self.replaced(store, "k", b"x" * 7, first.etag)
        entries = list(store.list("k"))
        assert [(entry.key, entry.size_bytes) for entry in entries] == [("k", 7)]
        assert entries[0].last_modified is None or entries[0].last_modified.tzinfo is not None

    def test_a_long_listing_is_complete(self, store: ObjectStore) -> None:
        keys = [f"many/{number:05d}" for number in range(self.many)]
        for key in keys:
            self.created(store, key, b"")
        assert [entry.key for entry in store.list("many/")] == keys

    def test_deleting_is_idempotent_and_touches_one_key(self, store: ObjectStore) -> None:
        for key in ("a/b", "a/bc", "c"):
            self.created(store, key, b"x")
        store.delete("a/b")
        store.delete("a/b")
        store.delete("never/was")
        assert [entry.key for entry in store.list("")] == ["a/bc", "c"]

    # -- races -----------------------------------------------------------------------------------------------------

    def test_one_of_many_creators_wins(self, store: ObjectStore) -> None:
        for number in range(self.race_rounds):
            answers = all_at_once(self.racers, partial(_create, store, f"race/{number}"))
            winners = [me for me, answer in enumerate(answers) if isinstance(answer, Written)]
            assert len(winners) == 1, f"{len(winners)} winners in round {number}"
            assert self.seen(store, f"race/{number}").body == b"by %d" % winners[0]

    def test_one_of_many_replacers_wins(self, store: ObjectStore) -> None:
        etag = self.created(store, "race", b"begin").etag
        for number in range(self.race_rounds):
            answers = all_at_once(self.racers, partial(_replace, store, "race", etag, number))
            winners = [(me, answer.etag) for me, answer in enumerate(answers) if isinstance(answer, Written)]
            assert len(winners) == 1, f"{len(winners)} winners in round {number}"
            me, etag = winners[0]
            seen = self.seen(store, "race")
            assert (seen.body, seen.etag) == (b"%d by %d" % (number, me), etag)

    def test_a_counter_loses_no_update(self, store: ObjectStore) -> None:
        self.created(store, "counter", b"0 nobody")
        each = 4

        def count(me: int) -> Written:
            last: Written | None = None
            for step in range(each):
                while True:
                    seen = self.seen(store, "counter")
                    number = int(seen.body.split()[0])
                    answer = store.put_if_match("counter", b"%d %d-%d" % (number + 1, me, step), seen.etag)
                    if isinstance(answer, Written):
                        last = answer
                        break
            assert last is not None
            return last

        racers = min(self.racers, 8)
        all_at_once(racers, count)
        assert self.seen(store, "counter").body.split()[0] == b"%d" % (racers * each)

    def test_a_reader_sees_whole_bodies_only(self, store: ObjectStore) -> None:
        bodies = [bytes([letter]) * 100_000 for letter in b"abcdefgh"]
        etag = self.created(store, "k", bodies[0]).etag
        is_over = threading.Event()
        seen: set[bytes] = set()

        def read(_: int) -> Written:
            while not is_over.is_set():
                seen.add(self.seen(store, "k", limit_bytes=200_000).body)
            return Written("")

        def write() -> None:
            nonlocal etag
            for body in bodies[1:]:
                etag = self.replaced(store, "k", body, etag).etag

        def work(me: int) -> Written:
            if me:
                return read(me)
            try:
                write()
            finally:
                is_over.set()
            return Written("")

        all_at_once(3, work)
        assert seen <= set(bodies)
        assert self.seen(store, "k", limit_bytes=200_000).body == bodies[-1]

    # -- the rest --------------------------------------------------------------------------------------------------

    def test_the_url_is_a_text(self, store: ObjectStore) -> None:
        assert ":" in store.url
        assert "@" not in store.url

    def test_closing_twice_is_fine(self, store: ObjectStore) -> None:
        store.close()
        store.close()

    # -- words -----------------------------------------------------------------------------------------------------

    def created(self, store: ObjectStore, key: str, body: bytes) -> Written:
        answer = store.put_if_absent(key, body)
        assert isinstance(answer, Written), f"{key} could not be created: {answer}"
        return answer

    def replaced(self, store: ObjectStore, key: str, body: bytes, etag: str) -> Written:
        answer = store.put_if_match(key, body, etag)
        assert isinstance(answer, Written), f"{key} could not be replaced: {answer}"
        return answer

    def seen(self, store: ObjectStore, key: str, *, limit_bytes: int = MIB) -> StoredObject:
        answer = store.get(key, limit_bytes=limit_bytes)
        assert isinstance(answer, StoredObject), f"{key} is missing"
        return answer


class MissingRootContract:
    """For stores whose bucket, container or directory can be absent: `store` is one whose root is not there."""

    def test_a_missing_root_is_not_a_missing_object(self, store: ObjectStore) -> None:
        with raises(ErrorKind.NOT_FOUND):
            store.get("k", limit_bytes=10)

    def test_a_missing_root_is_not_created(self, store: ObjectStore) -> None:
        with raises(ErrorKind.NOT_FOUND):
            store.put_if_absent("k", b"x")
        with raises(ErrorKind.NOT_FOUND):
            store.put_if_match("k", b"x", WRONG_ETAG)
        with raises(ErrorKind.NOT_FOUND):
            list(store.list(""))
        with raises(ErrorKind.NOT_FOUND):
            store.delete("k")
