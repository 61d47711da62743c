"""FlashInfer's own store: the directory is the one that each release's own constructor computes."""

import json

import pytest
from tests.pods import ROOT

from autotune_init.engines.flashinfer_store import RELEASES, BadMetadata, env_hash, environment_directory

GOLDEN = json.loads((ROOT / "tests" / "data" / "flashinfer_store_golden.json").read_text())
METADATA = {
    "flashinfer_version": "0.7.2",
    "cuda_version": "13.0",
    "cublas_version": "13.1.0",
    "cudnn_version": "91002",
    "cudnn_frontend_version": "1.14.1",
    "cutlass_dsl_version": "4.3.0",
    "gpu": "NVIDIA H100 80GB HBM3",
}


def test_every_release_with_the_store_has_vectors():
    assert tuple(GOLDEN) == RELEASES


@pytest.mark.parametrize("version", RELEASES)
def test_the_directory_is_the_releases_own(version):
    assert len({path for _, path in GOLDEN[version]}) >= 10
    for metadata, path in GOLDEN[version]:
        assert environment_directory("/c", metadata) == f"/c/{path}"


@pytest.mark.parametrize("name", list(METADATA))
def test_every_field_is_in_the_hash_and_a_missing_one_is_refused(name):
    other = "0.7.1" if name == "flashinfer_version" else "other"

    assert env_hash({**METADATA, name: other}) != env_hash(METADATA)
    with pytest.raises(BadMetadata, match=name):
        env_hash({key: value for key, value in METADATA.items() if key != name})


def test_the_order_of_fields_does_not_matter():
    assert env_hash(dict(reversed(METADATA.items()))) == env_hash(METADATA)


@pytest.mark.parametrize(
    "change",
    [{"flashinfer_version": "0.6.18"}, {"flashinfer_version": "0.7.3"}, {"extra": "x"}, {"gpu": 1}],
    ids=str,
)
def test_what_no_known_release_writes_is_refused(change):
    with pytest.raises(BadMetadata):
        env_hash({**METADATA, **change})
