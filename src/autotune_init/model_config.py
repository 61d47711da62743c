"""Finds and reads a model's config.json: a directory, a file, or the Hugging Face hub's cache. Never the network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

MAX_CONFIG_BYTES = 8 * 1024 * 1024


class ConfigNotFound(ValueError):  # noqa: N818 -- reads as what happened
    """No config.json there; the message says where we looked."""


def read_model_config(path: str) -> Mapping[str, object]:
    """config.json at `path` (a file, or a directory that holds one). Raises OSError and ValueError."""
    file = Path(path)
    if file.is_dir():
        file = file / "config.json"
    with file.open("rb") as stream:
        body = stream.read(MAX_CONFIG_BYTES + 1)
    if len(body) > MAX_CONFIG_BYTES:
        raise ValueError(f"{file} is larger than {MAX_CONFIG_BYTES} bytes")
    try:
        document = json.loads(body)
    except RecursionError:
        raise ValueError(f"{file} is nested too deep") from None
    if not isinstance(document, dict):
        raise ValueError(f"{file} is not a JSON object")  # noqa: TRY004 -- a bad file, not a bad argument
    return document


def find_model_config(model_path: str, environ: Mapping[str, str], revision: str | None = None) -> Path:
    """Where the config of this --model-path lies on this pod. Raises `ConfigNotFound`.

    The hub's cache: <HF_HUB_CACHE>/models--<org>--<name>/snapshots/<commit>/config.json, the commit by
    refs/<revision> (huggingface_hub constants.py: HF_HUB_CACHE, else HF_HOME/hub, else ~/.cache/huggingface/hub).
    """
    local = Path(model_path)
    if (local / "config.json").is_file():
        return local / "config.json"
    if local.is_absolute() or model_path.count("/") != 1 or model_path.startswith("."):
        raise ConfigNotFound(f"no config.json in {model_path[:200]}")
    repository = _hub_cache(environ) / ("models--" + model_path.replace("/", "--"))
    reference = repository / "refs" / (revision or "main")
    try:
        commit = revision if (repository / "snapshots" / (revision or "")).is_dir() and revision else None
        commit = commit or reference.read_text().strip()
    except OSError:
        raise ConfigNotFound(f"{model_path} is neither a directory here nor in {repository.parent}") from None
    file = repository / "snapshots" / commit / "config.json"
    if not file.is_file():
        raise ConfigNotFound(f"no {file}")
    return file


def _hub_cache(environ: Mapping[str, str]) -> Path:
    if environ.get("HF_HUB_CACHE"):
        return Path(environ["HF_HUB_CACHE"])
    if environ.get("HF_HOME"):
        return Path(environ["HF_HOME"]) / "hub"
    base = environ.get("XDG_CACHE_HOME") or str(Path(environ.get("HOME", "/")) / ".cache")
    return Path(base) / "huggingface" / "hub"


def with_side_file(config: Mapping[str, object], directory: Path) -> Mapping[str, object]:
    """The config as SGLang's layers see it: hf_quant_config.json beside it tells the quantization it does not name.

    (SGLang 0.5.23, srt/configs/model_config.py `_parse_quant_hf_config`.) For tuners only: the target's cache key
    ignores that file.
    """
    if config.get("quantization_config"):
        return config
    try:
        found = read_model_config(str(directory / "hf_quant_config.json"))
    except (OSError, ValueError):
        return config
    nested = found.get("quantization")
    return {**config, "quantization_config": nested} if isinstance(nested, dict) else config
