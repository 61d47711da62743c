"""Chance for naps: another series in each process, and `random` only where somebody naps."""

import subprocess
import sys

from cache_store.chance import FreshChance


def test_series_differ_and_stay_in_their_bounds():
    one, other = FreshChance(), FreshChance()

    drawn = [[chance.random() for _ in range(50)] for chance in (one, other)]

    assert drawn[0] != drawn[1]
    assert len(set(drawn[0])) == 50
    assert all(0 <= number < 1 for number in drawn[0] + drawn[1])
    assert all(2.0 <= one.uniform(2.0, 3.0) <= 3.0 for _ in range(50))


def test_random_and_openssl_are_not_imported_before_they_are_needed():
    program = (
        "import sys; from cache_store.chance import FreshChance; from cache_store.sha256 import sha256_hex;"
        "chance = FreshChance(); sha256_hex(b'abc'); print('random' in sys.modules, '_hashlib' in sys.modules);"
        "chance.random(); print('random' in sys.modules)"
    )

    told = subprocess.run(
        [sys.executable, "-S", "-c", program],
        env={"PYTHONPATH": "src"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert told.stdout.split() == ["False", "False", "True"]
