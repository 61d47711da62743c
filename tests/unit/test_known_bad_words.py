"""The page's words for known-bad rows are there for each row, and for no other."""

from autotune_init.engines import known_bad
from cache_store.known_bad_words import PREFIX, WORDS, words_for


def test_each_row_has_its_words():
    assert set(WORDS) == known_bad.ids()
    assert all(row.reason == PREFIX + row.id for row in known_bad.ROWS)


def test_a_row_of_another_release_is_not_made_up():
    assert "known to go wrong" in words_for("known-bad-of-next-year")
