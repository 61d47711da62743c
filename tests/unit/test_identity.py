"""Addresses are built and parsed in one place, and every input of identity changes the address."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache_store.identity import Address, BadAddress, Environment, Identity

METADATA = {
    "flashinfer_version": "0.7.2",
    "cuda_version": "13.0",
    "cublas_version": "13.1.0",
    "cudnn_version": "91900",
    "cudnn_frontend_version": "1.31.0",
    "cutlass_dsl_version": "4.7.1",
    "gpu": "NVIDIA H100 80GB HBM3",
}

versions = st.from_regex(r"\A[0-9]\.[0-9]{1,2}\.[0-9](\.post[0-9])?(\+cu[0-9]{3})?\Z")
arches = st.sampled_from(["sm90", "sm100", "sm103", "sm120", "sm90a"])
keys = st.text("0123456789abcdef", min_size=16, max_size=64)
gpus = st.text(min_size=1, max_size=80)


@given(versions, arches, keys, gpus)
def test_an_address_that_was_built_parses_to_itself(version, arch, key, gpu):
    environment = Environment({**METADATA, "gpu": gpu})
    address = Address(version, arch, key, environment.name)

    assert Address.parse(str(address)) == address
    assert Address.of_object(address.bundle_key) == (address, "bundle.json")
    assert Address.of_object(address.blob_key("ab")) == (address, "blobs/ab")


@given(st.text(max_size=120))
def test_text_that_is_no_address_is_refused_or_round_trips(text):
    try:
        address = Address.parse(text)
    except BadAddress:
        return
    assert str(address) == text.strip("/")


@pytest.mark.parametrize(
    "text",
    [
        "0.7.2/sm90/0123456789abcdef",
        "../sm90/0123456789abcdef/nvidia-h100-0123456789ab",
        "0.7.2/../0123456789abcdef/nvidia-h100-0123456789ab",
        "0.7.2/sm90/0123456789abcdeX/nvidia-h100-0123456789ab",
        "0.7.2/sm90/0123456789abcdef/NVIDIA-0123456789ab",
        "0.7.2/sm90/0123456789abcdef/nvidia-h100-0123456789ab\n",
        "0.7.2/sm90/0123456789abcdef/nvidia-h100-0123456789ab/x",
    ],
)
def test_near_misses_are_refused(text):
    with pytest.raises(BadAddress):
        Address.parse(text)


@pytest.mark.parametrize("name", sorted(METADATA))
def test_any_metadata_field_that_changes_gives_another_environment(name):
    changed = Environment({**METADATA, name: METADATA[name] + "x"})

    assert changed.name != Environment(METADATA).name


def test_the_order_of_fields_gives_the_same_environment():
    assert Environment(dict(reversed(METADATA.items()))).name == Environment(METADATA).name


def test_h100_and_h200_are_told_apart_by_a_readable_name():
    h100, h200 = Environment(METADATA).name, Environment({**METADATA, "gpu": "NVIDIA H200"}).name

    assert h100.startswith("nvidia-h100-80gb-hbm3-")
    assert h200.startswith("nvidia-h200-")


def test_what_the_site_adds_is_part_of_identity():
    assert Environment(METADATA, {"driver": "580"}).name != Environment(METADATA).name
    assert Environment(METADATA, {"driver": "580"}).name != Environment(METADATA, {"driver": "590"}).name


def test_an_environment_without_a_gpu_name_is_refused():
    with pytest.raises(ValueError, match="GPU name"):
        Environment({"cuda_version": "13.0"})


def test_an_identity_knows_its_address():
    identity = Identity(
        "sglang", "0.7.2", "sm90", "0123456789abcdef", "m|x", {"model_path": "m"}, Environment(METADATA)
    )

    assert str(identity.address) == f"0.7.2/sm90/0123456789abcdef/{Environment(METADATA).name}"
