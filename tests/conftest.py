import pytest

pytest.register_assert_rewrite("cache_store.testing.contract", "tests.servers")
pytest_plugins = ["tests.servers"]
