"""Temporary files where the container has no place for them."""

import os
import tempfile
from pathlib import Path

import pytest

from autotune_init import temporary
from autotune_init.temporary import with_temporary


@pytest.fixture
def nowhere(monkeypatch):
    def none():
        if tempfile.tempdir is not None:
            return tempfile.tempdir
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr(temporary, "_takes_a_file", lambda _: False)
    monkeypatch.setattr(tempfile, "gettempdir", none)
    monkeypatch.setattr(tempfile, "tempdir", None)


@pytest.mark.parametrize("place", ["", "absent"])
def test_where_there_is_one_nothing_changes(tmp_path, place):
    """Nor where TMPDIR names none and another of the usual places is one."""
    environ = {"SGLANG_CACHE_DIR": str(tmp_path), "TMPDIR": str(tmp_path / place)}
    with with_temporary(environ, None) as seen:
        assert seen is environ
        assert os.listdir(tmp_path) == []


@pytest.mark.usefixtures("nowhere")
def test_given_a_read_only_root_then_the_cache_volume_lends_one_and_has_it_back(tmp_path):
    with with_temporary({"SGLANG_CACHE_DIR": str(tmp_path / "sglang"), "HOME": "/"}, None) as seen:
        lent = Path(seen["TMPDIR"])
        assert lent.parent == tmp_path / "sglang"
        assert seen["HOME"] == "/"
        assert Path(tempfile.mkdtemp()).parent == lent
    assert os.listdir(tmp_path / "sglang") == []
    assert tempfile.tempdir is None


@pytest.mark.usefixtures("nowhere")
def test_given_no_writable_place_at_all_then_the_environment_stays_as_it_is(tmp_path):
    (tmp_path / "file").touch()
    environ = {"SGLANG_CACHE_DIR": str(tmp_path / "file")}
    with with_temporary(environ, str(tmp_path / "file" / "below")) as seen:
        assert seen is environ
