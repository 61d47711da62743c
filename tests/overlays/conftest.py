"""Real charts, real definitions, a real API server. `pytest tests/overlays`; needs `make servers` and what
tools/charts/fetch.py brings."""

import pytest
from tests.overlays import definitions
from tests.overlays.targets import TARGETS

api = definitions.api


def ids(target):
    return target.name


@pytest.fixture(params=TARGETS, ids=ids)
def target(request):
    return request.param


@pytest.fixture(params=[one for one in TARGETS if one.has_schema], ids=ids)
def target_with_schema(request):
    return request.param
