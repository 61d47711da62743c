"""config.json: from a directory, a file or the hub's cache on this disk."""

import json

import pytest

from autotune_init.model_config import MAX_CONFIG_BYTES, ConfigNotFound, find_model_config, read_model_config

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub(tmp_path):
    repository = tmp_path / "hub" / "models--Qwen--Qwen3-8B"
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text('{"model_type": "qwen3"}')
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    return tmp_path / "hub"


def test_a_directory_and_a_file_are_read_alike(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))

    assert read_model_config(str(tmp_path)) == read_model_config(str(tmp_path / "config.json"))
    assert find_model_config(str(tmp_path), {}) == tmp_path / "config.json"


@pytest.mark.parametrize(
    "body",
    ["[]", "nothing", "", "[" * 100_000, b"\xff\xfe"],
    ids=["list", "word", "empty", "deep", "no text"],
)
def test_a_file_that_is_no_json_object_is_refused(tmp_path, body):
    path = tmp_path / "config.json"
    path.write_bytes(body if isinstance(body, bytes) else body.encode())

    with pytest.raises(ValueError):
        read_model_config(str(path))


def test_a_huge_file_is_refused(tmp_path):
    path = tmp_path / "config.json"
    path.write_text('{"a": "' + "x" * MAX_CONFIG_BYTES + '"}')

    with pytest.raises(ValueError, match="larger"):
        read_model_config(str(path))


def test_an_absent_file_is_an_os_error(tmp_path):
    with pytest.raises(OSError):
        read_model_config(str(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    "environ",
    [
        lambda hub: {"HF_HUB_CACHE": str(hub), "HF_HOME": "/nowhere"},
        lambda hub: {"HF_HOME": str(hub.parent)},
    ],
    ids=["HF_HUB_CACHE", "HF_HOME"],
)
def test_a_hub_name_is_found_where_the_hubs_variables_say(hub, environ):
    found = find_model_config("Qwen/Qwen3-8B", environ(hub))

    assert read_model_config(str(found)) == {"model_type": "qwen3"}


def test_the_hubs_default_place_is_below_home(hub, tmp_path):
    (tmp_path / ".cache" / "huggingface").mkdir(parents=True)
    hub.rename(tmp_path / ".cache" / "huggingface" / "hub")

    assert find_model_config("Qwen/Qwen3-8B", {"HOME": str(tmp_path)}).is_file()


def test_a_revision_is_a_commit_or_a_reference(hub):
    environ = {"HF_HUB_CACHE": str(hub)}

    assert find_model_config("Qwen/Qwen3-8B", environ, COMMIT) == find_model_config("Qwen/Qwen3-8B", environ)
    with pytest.raises(ConfigNotFound):
        find_model_config("Qwen/Qwen3-8B", environ, "v2")


@pytest.mark.parametrize("path", ["Qwen/Other", "/nowhere", "./m/x", "a/b/c", "single", "s3://b/m"])
def test_what_is_not_here_is_said(hub, path):
    with pytest.raises(ConfigNotFound):
        find_model_config(path, {"HF_HUB_CACHE": str(hub)})
