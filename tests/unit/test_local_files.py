"""What lies in the engine's directory is judged as FlashInfer would judge it."""

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.bundles import ENTRY, H100, H200, rank_file

from autotune_init.local_files import FileState, check_foreign_bytes, examine, judge_metadata
from cache_store.rank_file import BadRankFile, bucket_of, op_of, parse_rank_file

NAMES = ("rank_tp0_pp0_dp0.json", "rank_tp1_pp0_dp0.json")


def look(directory, must_agree=True):
    return examine(directory, NAMES, H100, must_agree=must_agree)


def write(directory, **bodies):
    for name, body in zip(NAMES, bodies.values(), strict=False):
        (directory / name).write_bytes(body)


def test_a_directory_that_is_not_there_is_empty(tmp_path):
    local = look(tmp_path / "absent")

    assert not local.is_complete
    assert {f.state for f in local.files.values()} == {FileState.ABSENT}


def test_a_valid_file_for_every_rank_is_complete(tmp_path):
    write(tmp_path, a=rank_file(), b=rank_file())

    assert look(tmp_path).is_complete


def test_one_missing_rank_is_not_complete(tmp_path):
    write(tmp_path, a=rank_file())

    assert not look(tmp_path).is_complete


def test_ranks_that_differ_are_not_complete_where_the_engine_demands_equality(tmp_path):
    write(tmp_path, a=rank_file(tactic=1), b=rank_file(tactic=2))

    assert not look(tmp_path, must_agree=True).is_complete
    assert look(tmp_path, must_agree=False).is_complete


def test_ranks_are_compared_as_json_not_as_bytes(tmp_path):
    write(tmp_path, a=rank_file(), b=json.dumps(json.loads(rank_file())).encode())

    assert look(tmp_path).is_complete


@pytest.mark.parametrize(
    ("saved", "state"),
    [
        (H100, FileState.VALID),
        ({**H100, "extra": "field"}, FileState.VALID),
        ({**H100, "gpu": "*"}, FileState.VALID),
        (H200, FileState.FOREIGN),
        ({**H100, "cudnn_version": "unknown"}, FileState.SOFT),
        ({**H100, "cudnn_version": "None"}, FileState.SOFT),
        ({k: v for k, v in H100.items() if k != "cublas_version"}, FileState.SOFT),
        ({**H100, "cudnn_version": "unknown", "gpu": "NVIDIA H200"}, FileState.FOREIGN),
    ],
)
def test_metadata_is_compared_as_flashinfer_does(saved, state):
    assert judge_metadata(saved, H100)[0] is state


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not-json"),
        (b'{"_metadata":', "not-json"),
        (b"[]", "not-a-cache-file"),
        (b"{}", "no-metadata"),
        (b'{"_metadata": []}', "not-a-cache-file"),
        (b'{"_metadata": {"gpu": 1}}', "not-a-cache-file"),
        (b'{"_metadata": {}, "entry": ["r", 1]}', "not-a-cache-file"),
        (b'{"_metadata": {}, "(x)": 5}', "not-a-cache-file"),
        (b"[" * 100_000, "too-deep"),
        (b" " * 17_000_000, "too-large"),
    ],
    ids=["empty", "cut", "list", "bare", "list-metadata", "number", "no-tuple", "no-list", "deep", "large"],
)
def test_a_file_that_is_none_is_corrupt_and_says_why(tmp_path, body, reason):
    with pytest.raises(BadRankFile) as caught:
        parse_rank_file(body)
    write(tmp_path, a=body)

    assert caught.value.reason == reason
    assert look(tmp_path).files[NAMES[0]].state is FileState.CORRUPT


@given(st.binary(max_size=200))
def test_arbitrary_bytes_never_escape_the_parser(body):
    try:
        parse_rank_file(body)
    except BadRankFile:
        pass


@given(st.text(max_size=200))
def test_arbitrary_keys_are_read_without_an_exception(key):
    assert bucket_of(key) >= 0
    assert op_of(key)


def test_op_and_bucket_are_read_from_flashinfers_own_keys():
    moe = "('trtllm::fused_moe::gemm1', 'MoERunner', ((4096, 2048), (128, 1536, 2048), (0,)), (torch.bfloat16, 8))"

    assert (op_of(ENTRY), bucket_of(ENTRY)) == ("fp8_gemm", 1024)
    assert (op_of(moe), bucket_of(moe)) == ("trtllm::fused_moe::gemm1", 4096)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    os.symlink("loop", tmp_path / NAMES[0])
    os.symlink(NAMES[0], tmp_path / "loop")

    assert look(tmp_path).files[NAMES[0]].state is FileState.UNREADABLE


def test_a_cache_dir_that_is_a_file_is_an_error(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(NotADirectoryError):
        look(tmp_path / "file")


def refused(contents, names=NAMES, metadata=H100, must_agree=True):
    with pytest.raises(BadRankFile) as caught:
        check_foreign_bytes(contents, names, metadata, must_agree=must_agree)
    return caught.value.reason


def test_foreign_bytes_are_taken_only_for_exactly_the_recipes_names():
    good = rank_file()

    assert check_foreign_bytes(dict.fromkeys(NAMES, good), NAMES, H100, must_agree=True)
    assert refused({NAMES[0]: good}) == "wrong-rank-files"
    assert refused({**dict.fromkeys(NAMES, good), "rank_tp2_pp0_dp0.json": good}) == "wrong-rank-files"
    assert refused({NAMES[0]: good, "../" + NAMES[1]: good}) == "wrong-rank-files"


def test_foreign_bytes_of_another_environment_are_refused_even_as_wildcards():
    assert refused(dict.fromkeys(NAMES, rank_file(H200))) == "foreign-environment"
    assert refused(dict.fromkeys(NAMES, rank_file({**H100, "gpu": "*"}))) == "foreign-environment"
    assert refused(dict.fromkeys(NAMES, rank_file({**H100, "more": "x"}))) == "foreign-environment"


def test_foreign_bytes_whose_ranks_disagree_are_refused_where_the_engine_would_drop_them():
    mixed = {NAMES[0]: rank_file(tactic=1), NAMES[1]: rank_file(tactic=2)}

    assert refused(mixed) == "ranks-disagree"
    assert check_foreign_bytes(mixed, NAMES, H100, must_agree=False)
