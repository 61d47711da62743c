import os

import pytest
from tests.stores.live.real_servers import Park, required


@pytest.fixture(scope="session")
def park(tmp_path_factory):
    """The real servers. Each worker of pytest-xdist has its own."""
    with Park(lambda name: tmp_path_factory.mktemp(name[:3]), required(os.environ)) as servers:
        yield servers
