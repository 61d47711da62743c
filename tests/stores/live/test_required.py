"""A server that is missing is named: a skip, or a failure where it is required."""

import pytest
from tests.stores.live import real_servers
from tests.stores.live.real_servers import Park, required


@pytest.mark.parametrize(
    ("environ", "names"),
    [
        ({}, set()),
        ({"CI": "true"}, {"minio", "versitygw", "ministack"}),
        ({"AUTOTUNE_REQUIRE_STORES": "minio, radosgw"}, {"minio", "radosgw"}),
        ({"CI": "true", "AUTOTUNE_REQUIRE_STORES": ""}, set()),
    ],
)
def test_what_is_required(environ, names):
    assert required(environ) == names


def test_a_required_server_that_nobody_knows_is_an_error():
    with pytest.raises(ValueError, match="names garage"):
        required({"AUTOTUNE_REQUIRE_STORES": "garage"})


def test_a_server_that_is_not_built_is_skipped_by_name_or_fails(tmp_path, monkeypatch):
    monkeypatch.setattr(real_servers, "VERSITYGW", tmp_path / "versitygw")

    with Park(lambda _: tmp_path, set()) as park, pytest.raises(pytest.skip.Exception) as skipped:
        park.get("versitygw")
    with Park(lambda _: tmp_path, {"versitygw"}) as park, pytest.raises(pytest.fail.Exception) as failed:
        park.get("versitygw")

    assert str(skipped.value) == "versitygw is not built: make servers"
    assert str(failed.value) == "versitygw is not built: make servers (it is required here)"
