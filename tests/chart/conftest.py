"""One API server for the chart's tests; each test has a namespace, and a release of its own that selects it."""

import pytest
from tests.chart.chart_tools import Api
from tools.cluster import api_server


@pytest.fixture(scope="session")
def api():
    with api_server() as server:
        api = Api(server)
        yield api
        api.close()


@pytest.fixture(scope="session")
def attached(api):
    """A namespace of a release with defaults, for tests that only look at pods."""
    return api.attached()
