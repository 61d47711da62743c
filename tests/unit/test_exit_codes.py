"""Both programs end with the same numbers for the same trouble with the store."""

import pytest

from autotune_init.outcomes import Outcome, strict_exit_code
from cache_store.errors import ErrorKind
from cache_store.exit_codes import OF_ERROR


@pytest.mark.parametrize("kind", list(ErrorKind))
def test_the_programs_agree(kind):
    assert strict_exit_code(Outcome.COLD, f"store-{kind.value}") == OF_ERROR[kind]
