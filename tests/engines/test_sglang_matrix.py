"""Command lines of many kinds on every GPU: the release's own key (and its draft's), or a refusal; never another key."""

import pytest
from tests.engines import sglang_golden
from tests.engines.sglang_matrix import FAMILIES, MOE_FAMILIES, all_cases, line_cases
from tests.engines.sglang_replay import tally

from autotune_init.engines.sglang_versions import RELEASES

GOLDEN = sglang_golden.load()
# the releases that `make test-engines` asks about everything
WHOLE = ("0.5.12.post1", "0.5.15.post1", "0.5.17", "0.5.18", "0.5.19", "0.5.21", "0.5.22", "0.5.23")


def test_the_matrix_is_as_wide_as_it_says():
    assert len({case.argv for case in line_cases()}) >= 150
    assert len(FAMILIES) >= 12
    assert len(MOE_FAMILIES) >= 10
    assert {case.arch for case in all_cases()} == {"sm90", "sm100", "sm103", "sm120"}


def test_every_release_was_asked():
    assert set(WHOLE) <= set(GOLDEN) <= {release.version for release in RELEASES}
    for version in WHOLE:
        assert len(GOLDEN[version]) == len(all_cases()), version


@pytest.mark.parametrize("version", list(GOLDEN))
def test_what_is_answered_is_the_releases_own_answer(version):
    found = tally(version, sglang_golden.asked(all_cases(), GOLDEN[version]), GOLDEN[version])

    assert not found.wrong
    # of what the release itself decides without weights
    assert found.share >= 0.95, found.refused[:20]
    assert found.decided >= 700
