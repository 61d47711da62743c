from dataclasses import dataclass

import pytest

pytest.register_assert_rewrite("cache_store.testing.contract", "tests.servers")
pytest_plugins = ["tests.servers"]


@dataclass
class Place:
    """A store for pods: its URL, and the environment that leads there."""

    url: str
    environ: dict


@pytest.fixture
def s3(ministack, bucket):
    """A fresh prefix on a real S3 server."""
    from tests.servers import KEYS

    return Place(f"s3://{bucket}/fleet", {**KEYS, "AWS_ENDPOINT_URL_S3": ministack})
