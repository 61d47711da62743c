"""`key --batch`: one JSON line in, one JSON answer out, in order, whatever the lines are. Pure but for `Reader`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import PurePosixPath

from autotune_init.engines import EngineCache, Question, sglang
from autotune_init.engines.flashinfer_store import BadMetadata, env_hash, environment_directory
from autotune_init.engines.registry import ask
from autotune_init.engines.sglang_words import Typed, read_argv
from autotune_init.engines.spelling import read_words
from autotune_init.ranks import Rank
from cache_store.dataclass import dataclass

MAX_LINE_BYTES = 1024 * 1024

QUANT_FILE = "hf_quant_config.json"

Answer = dict[str, object]


@dataclass(frozen=True)
class Reader:
    """The files that lines name. `config` reads a JSON object (a directory means its config.json), `text` a text.

    Both raise `ValueError` or `OSError`.
    """

    config: Callable[[str], Mapping[str, object]]
    text: Callable[[str], str]

    def config_or_none(self, path: str) -> Mapping[str, object] | None:
        try:
            return self.config(path)
        except (OSError, ValueError):
            return None


class _BadLine(Exception):  # noqa: N818 -- never leaves this file
    pass


def answer_lines(lines: Iterable[str], read: Reader) -> Iterator[Answer]:
    """One answer per line that is not blank."""
    for line in lines:
        if line.strip():
            yield answer_line(line, read)


def answer_line(line: str, read: Reader) -> Answer:
    """`{"path", "key", "source", ...}` or `{"refused", "detail"}`. Raises nothing."""
    try:
        if len(line) > MAX_LINE_BYTES:
            raise _BadLine(f"the line is longer than {MAX_LINE_BYTES} characters")
        try:
            asked = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise _BadLine(f"not JSON: {error}"[:200]) from None
        if not isinstance(asked, dict):
            raise _BadLine("not a JSON object")
        _refuse_half_characters(asked)
        return _answer(asked, read)
    except _BadLine as problem:
        return {"refused": "bad-line", "detail": str(problem)}
    except sglang.Refused as refused:
        return {"refused": refused.refusal.reason, "detail": refused.refusal.detail}


def _refuse_half_characters(asked: object) -> None:
    """JSON can spell half a character (a lone surrogate): no path has one, and it could not be written out again."""
    try:
        json.dumps(asked, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise _BadLine("a text holds half a character") from None


def _answer(asked: Mapping[str, object], read: Reader) -> Answer:
    engine = asked.get("engine")
    if engine == "flashinfer":
        return _answer_store(asked)
    if engine != "sglang":
        return {"refused": "unknown-engine", "detail": f"no recipe for engine {engine!r}"[:200]}
    if "resolved" in asked:
        return _answer_resolved(asked)
    if "argv" in asked:
        return _answer_argv(asked, read)
    raise _BadLine("neither resolved nor argv")


def _answer_store(asked: Mapping[str, object]) -> Answer:
    metadata = _object(asked, "metadata")
    version = _text(asked, "flashinfer_version")
    if metadata.get("flashinfer_version") != version:
        raise _BadLine("flashinfer_version is not the metadata's")
    try:
        texts = {name: value for name, value in metadata.items() if isinstance(value, str)}
        if len(texts) != len(metadata):
            raise BadMetadata("metadata values are texts")
        path = environment_directory(_text(asked, "cache_dir"), texts)
    except BadMetadata as problem:
        return {"refused": "key-inputs", "detail": str(problem)}
    return {"path": path, "key": env_hash(texts), "source": "recipe"}


def _answer_resolved(asked: Mapping[str, object]) -> Answer:
    release = sglang.release_of(_text(asked, "engine_version"))
    resolved = sglang.resolved_from(_object(asked, "resolved"))
    if resolved.is_draft and not release.drafts_tune:
        return {
            "refused": "engine-does-not-tune",
            "detail": f"draft workers do not tune in {release.version}",
        }
    rank = _rank(asked)
    if rank.tp >= resolved.tp_size or rank.pp >= resolved.pp_size:
        return {"refused": "key-ranks", "detail": f"{rank} is outside of the sizes"}
    key = sglang.key_of(sglang.key_text(release, resolved))
    folder = sglang.directory(
        _text(asked, "cache_dir"), _text(asked, "flashinfer_version"), _capability(asked), key
    )
    uuid = asked.get("gpu_uuid")
    name = sglang.rank_file(release, resolved, rank, uuid if isinstance(uuid, str) else None)
    return {"path": f"{folder}/{name}", "key": key, "source": "recipe"}


def _answer_argv(asked: Mapping[str, object], read: Reader) -> Answer:
    argv, environ = asked["argv"], asked.get("env") or {}
    if not isinstance(argv, list) or not all(isinstance(word, str) for word in argv):
        raise _BadLine("argv is a list of texts")
    if not isinstance(environ, dict) or not all(isinstance(value, str) for value in environ.values()):
        raise _BadLine("env is a map of texts")
    uuid, driver = asked.get("gpu_uuid"), asked.get("driver")
    release = sglang.release_of(_text(asked, "engine_version"))
    command = read_words(argv, environ, "sglang", release.version, read.text)
    typed = read_argv(command.argv, release)
    folder, config = _config(asked.get("model_config"), typed, read, command.directory)
    draft = typed.text("speculative_draft_model_path")
    draft_folder = _beside(draft, command.directory) if draft else None
    question = Question(
        engine="sglang",
        engine_version=release.version,
        flashinfer_version=_text(asked, "flashinfer_version"),
        capability=_capability(asked),
        argv=command.argv,
        model_config=config,
        environ=command.environ,
        cache_dir=_text(asked, "cache_dir") if "cache_dir" in asked else None,
        gpu_uuids=(uuid,) if isinstance(uuid, str) else (),
        driver=driver if isinstance(driver, str) else None,
        quant_config=read.config_or_none(f"{folder}/{QUANT_FILE}") if folder else None,
        draft_config=read.config_or_none(draft_folder) if draft_folder else None,
        draft_quant_config=read.config_or_none(f"{draft_folder}/{QUANT_FILE}") if draft_folder else None,
    )
    answer = ask(question)
    if not isinstance(answer, EngineCache):
        return {"refused": answer.reason, "detail": answer.detail}
    rank = _rank(asked)
    path = _path_of(answer, rank)
    if path is None:
        return {"refused": "key-ranks", "detail": f"{rank} is no rank of this replica"}
    line: Answer = {"path": path, "key": answer.key, "source": answer.source}
    if answer.draft is not None:
        line["draft_path"] = _path_of(answer.draft, rank)
    return line


def _path_of(cache: EngineCache, rank: Rank) -> str | None:
    stem = f"rank_tp{rank.tp}_pp{rank.pp}_dp{rank.dp}"
    for name in cache.all_rank_files:
        if name == f"{stem}.json" or name.startswith(f"{stem}_gpu"):
            return f"{cache.directory}/{name}"
    return None


def _config(
    given: object, typed: Typed, read: Reader, directory: str | None
) -> tuple[str | None, Mapping[str, object] | None]:
    """(the model's folder, the stated config.json, which must be readable; else the model path's own, if it is here)."""
    if given is None:
        path = _beside(typed.text("model_path") or "", directory)
        config = read.config_or_none(path)
        return (path if config is not None else None), config
    if not isinstance(given, str):
        raise _BadLine("model_config is a path")
    try:
        config = read.config(given)
    except (OSError, ValueError) as error:
        raise sglang.Refused("undecidable", f"config.json: {error}"[:300]) from None
    return (str(PurePosixPath(given).parent) if given.endswith(".json") else given), config


def _beside(path: str, directory: str | None) -> str:
    return path if directory is None else str(PurePosixPath(directory) / path)


def _text(asked: Mapping[str, object], name: str) -> str:
    value = asked.get(name)
    if not isinstance(value, str) or not value:
        raise _BadLine(f"{name} is {value!r}; a text is needed"[:200])
    return value


def _object(asked: Mapping[str, object], name: str) -> Mapping[str, object]:
    value = asked.get(name)
    if not isinstance(value, dict):
        raise _BadLine(f"{name} is not an object")
    return value


def _capability(asked: Mapping[str, object]) -> tuple[int, int]:
    value = asked.get("capability")
    if not isinstance(value, list) or len(value) != 2 or not all(_is_count(number) for number in value):
        raise _BadLine("capability is a list of two numbers, e.g. [9, 0]")
    return value[0], value[1]


def _rank(asked: Mapping[str, object]) -> Rank:
    given = asked.get("rank") or {}
    if not isinstance(given, dict):
        raise _BadLine("rank is an object")
    numbers = {name: given.get(name) or 0 for name in ("tp", "pp", "dp")}
    if not all(_is_count(number) for number in numbers.values()):
        raise _BadLine("ranks are whole numbers from 0, or null")
    return Rank(numbers["pp"], numbers["tp"], numbers["dp"])


def _is_count(number: object) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and number >= 0
