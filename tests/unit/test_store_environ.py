"""Whose credentials the store is asked with, where the container has those of another bucket."""

import os

import pytest

from autotune_init.settings import refuse_unknown_variables
from cache_store.process_environ import lent
from cache_store.store_environ import DESTINATION_PREFIX, is_for_store, store_environ

ENGINE = {
    "HOME": "/root",
    "AWS_ACCESS_KEY_ID": "models",
    "AWS_SECRET_ACCESS_KEY": "m",
    "AWS_SESSION_TOKEN": "of-the-models",
    "AWS_ENDPOINT_URL": "http://models",
    "AWS_DEFAULT_REGION": "us-east-1",
    "GOOGLE_APPLICATION_CREDENTIALS": "/models.json",
}


def test_without_a_word_for_the_store_the_containers_own_variables_count():
    assert store_environ(ENGINE) == ENGINE


def test_a_key_for_the_store_takes_nothing_of_the_containers_identity():
    said = {"AUTOTUNE_STORE_AWS_ACCESS_KEY_ID": "fleet", "AUTOTUNE_STORE_AWS_SECRET_ACCESS_KEY": "f"}

    seen = store_environ(ENGINE | said)

    assert seen == {
        "HOME": "/root",
        "AWS_ACCESS_KEY_ID": "fleet",
        "AWS_SECRET_ACCESS_KEY": "f",
        "AWS_ENDPOINT_URL": "http://models",
        "AWS_DEFAULT_REGION": "us-east-1",
        "GOOGLE_APPLICATION_CREDENTIALS": "/models.json",
    }


@pytest.mark.parametrize(
    ("said", "gone", "there"),
    [
        (
            {"AWS_ENDPOINT_URL_S3": "http://fleet"},
            "AWS_ENDPOINT_URL",
            {"AWS_ENDPOINT_URL_S3": "http://fleet"},
        ),
        ({"AWS_ENDPOINT_URL_S3": ""}, "AWS_ENDPOINT_URL", {}),
        ({"AWS_REGION": "eu-west-1"}, "AWS_DEFAULT_REGION", {"AWS_REGION": "eu-west-1"}),
        (
            {"GOOGLE_SERVICE_ACCOUNT": "/fleet.json"},
            "GOOGLE_APPLICATION_CREDENTIALS",
            {"GOOGLE_SERVICE_ACCOUNT": "/fleet.json"},
        ),
    ],
)
def test_what_is_said_for_the_store_replaces_its_group(said, gone, there):
    prefixed = {f"AUTOTUNE_STORE_{name}": value for name, value in said.items()}

    seen = store_environ(ENGINE | prefixed)

    assert gone not in seen
    assert there.items() <= seen.items()
    assert not [name for name in seen if is_for_store(name)]


def test_they_are_no_unknown_settings_and_their_misspelling_is():
    refuse_unknown_variables({"AUTOTUNE_STORE_AWS_REGION": "x"})
    with pytest.raises(ValueError, match="AUTOTUNE_STORE_AWSREGION"):
        refuse_unknown_variables({"AUTOTUNE_STORE_AWSREGION": "x"})


def test_the_destination_of_cp_is_told_apart_from_the_store():
    said = {"AUTOTUNE_TO_AWS_ACCESS_KEY_ID": "there", "AUTOTUNE_STORE_AWS_REGION": "here"}

    seen = store_environ(ENGINE | said, DESTINATION_PREFIX)

    assert seen["AWS_ACCESS_KEY_ID"] == "there"
    assert "AWS_SECRET_ACCESS_KEY" not in seen
    assert "AWS_SESSION_TOKEN" not in seen
    assert seen["AWS_DEFAULT_REGION"] == "us-east-1"
    assert not any(name.startswith("AUTOTUNE_TO_") for name in seen)


def test_a_key_for_the_store_is_signed_with_where_the_container_reads_its_models_unsigned():
    public = {"AWS_SKIP_SIGNATURE": "true"}

    assert "AWS_SKIP_SIGNATURE" not in store_environ(public | {"AUTOTUNE_STORE_AWS_ACCESS_KEY_ID": "fleet"})


def test_lent_variables_are_given_back(monkeypatch):
    monkeypatch.setenv("AWS_SESSION_TOKEN", "mine")
    monkeypatch.delenv("AWS_REGION", raising=False)

    with lent({"PATH": "/bin", "AWS_REGION": "there"}):
        during = dict(os.environ)

    assert during == {"PATH": "/bin", "AWS_REGION": "there"}
    assert os.environ["AWS_SESSION_TOKEN"] == "mine"
    assert "AWS_REGION" not in os.environ
