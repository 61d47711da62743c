"""What is served here: how the engine is started, its model's small files, and the question that follows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from autotune_init.engines import Question
from autotune_init.engines.command_line import ENGINES, CommandLine, Unreadable, read_command
from autotune_init.engines.sglang import Refused
from autotune_init.engines.sglang_versions import BY_VERSION
from autotune_init.engines.sglang_words import read_argv
from autotune_init.engines.spelling import read_words
from autotune_init.engines.vllm_memo import MODEL_FILES
from autotune_init.facts import Facts
from autotune_init.memo_inputs import digest_of_json, digest_of_text
from autotune_init.model_config import ConfigNotFound, find_model_config, read_model_config, with_side_file
from autotune_init.node import NodeUnknown
from autotune_init.replica_group import ReplicaGroup
from autotune_init.settings import Settings
from cache_store.dataclass import dataclass, replace

QUANT_FILE = "hf_quant_config.json"
# another program that calls FlashInfer; a shell line that is not followed may set the store's root, and is refused
_NO_ENGINES_WORDS = frozenset({
    "no-command", "engine-not-said", "unknown-program", "unknown-wrapper", "entrypoint-script",
})  # fmt: skip


@dataclass(frozen=True)
class Workload:
    """What is served here: the engine's question, how the engine is started, and what was not found.

    `model_config` and `draft_config` are as tuners need them (the quantization of hf_quant_config.json filled in).
    `directory` and `draft_directory` are where config.json lies, None where it was not found.
    """

    question: Question
    model_config: Mapping[str, object] | None
    warnings: tuple[str, ...]
    command: CommandLine
    draft_config: Mapping[str, object] | None = None
    directory: Path | None = None
    draft_directory: Path | None = None


def learn_workload(
    settings: Settings, environ: Mapping[str, str], facts: Facts, group: ReplicaGroup
) -> Workload:
    """The question to the engine's recipe.

    Raises `NodeUnknown`: unknown-engine, unknown-engine-version, environment-no-gpu, key-argv, key-config-file.
    """
    engine = _engine(settings, environ, facts)
    version = settings.engine_version or (
        facts.metadata.get("flashinfer_version") if engine == "flashinfer" else facts.packages.get(engine)
    )
    if version is None:
        detail = f"{engine} is not installed beside us; state --engine-version"
        raise NodeUnknown("unknown-engine-version", detail)
    if facts.gpu.capability is None:
        raise NodeUnknown("environment-no-gpu", "the compute capability is not known")
    command = _command(settings, environ, engine, version)
    model = _Model.of(command, version)
    found, warning = _config(
        settings.model_config, (settings.field.get("model_path"), model.path), model.revision, command
    )
    draft, _ = _config(None, (model.draft_path,), model.draft_revision, command)
    question = Question(
        engine=engine,
        engine_version=version,
        flashinfer_version=facts.metadata["flashinfer_version"],
        capability=facts.gpu.capability,
        argv=command.argv,
        model_config=found.config,
        environ=command.environ,
        fields=dict(settings.field),
        cache_dir=str(Path(settings.cache_dir).absolute()) if settings.cache_dir else None,
        gpu_uuids=facts.gpu.uuids,
        node_rank=group.node_rank,
        driver=facts.gpu.driver,
        quant_config=_side_config(found.directory),
        draft_config=draft.config,
        draft_quant_config=_side_config(draft.directory),
        metadata=facts.metadata,
    )
    return Workload(
        question,
        _as_tuned(found),
        (*((warning,) if warning else ()), *command.assumes),
        command,
        _as_tuned(draft),
        found.directory,
        draft.directory,
    )


def learn_files(workload: Workload) -> dict[str, str | None]:
    """Digests of the small files that the engine's own resolution reads. Raises nothing: what is not there is None.

    Of weights only names and sizes: where config.json names no quantization, SGLang looks into their headers
    (DeepSeek-V3, srt/arg_groups of 0.5.22 and 0.5.23).
    """
    found: dict[str, str | None] = {}
    for role, directory in (("", workload.directory), ("draft/", workload.draft_directory)):
        for name in MODEL_FILES:
            found[role + name] = digest_of_json(_side_config(directory, name))
        if directory is not None:
            code = sorted(directory.glob("*.py"))
            found[f"{role}*.py"] = digest_of_text(
                "".join(f"{one.name}\n{_text_or_none(one)}\n" for one in code)
            )
            weights = sorted(directory.glob("*.safetensors"))
            found[f"{role}*.safetensors"] = digest_of_text(
                "".join(f"{one.name} {_size(one)}\n" for one in weights)
            )
    config_file = flag_value(workload.question.argv, "--config")
    if config_file is not None:  # of a release whose way with the file is not known
        found["--config"] = digest_of_text(
            _text_or_none(Path(workload.command.directory or ".") / config_file)
        )
    return found


def _engine(settings: Settings, environ: Mapping[str, str], facts: Facts) -> str:
    """Stated, else what the command line starts, else what is installed."""
    if settings.engine is not None:
        return settings.engine
    if settings.engine_argv:
        try:
            return read_command(settings.engine_argv, environ, None).engine
        except Unreadable as unreadable:
            if unreadable.reason != "engine-not-said":
                raise NodeUnknown("key-argv", f"{unreadable.reason}: {unreadable.detail}") from None
    installed = [name for name in ENGINES if name in facts.packages]
    if len(installed) == 1:
        return installed[0]
    what = "both installed" if installed else "not installed beside us"
    raise NodeUnknown(
        "unknown-engine", f"{' and '.join(ENGINES)} are {what}, and nothing says which: state --engine"
    )


def _command(settings: Settings, environ: Mapping[str, str], engine: str, version: str) -> CommandLine:
    """Raises `NodeUnknown`."""
    words = settings.engine_argv
    if engine == "flashinfer":
        # any program may use FlashInfer's own store; what its words mean only matters where they can be read
        try:
            return replace(read_command(words, environ, None), engine=engine)
        except Unreadable as unreadable:
            if unreadable.reason in _NO_ENGINES_WORDS:
                return CommandLine(engine, "", tuple(words), dict(environ))
            raise NodeUnknown("key-argv", f"{unreadable.reason}: {unreadable.detail}") from None
    try:
        return read_words(words, environ, engine, version, lambda path: Path(path).read_text())
    except Refused as refused:
        raise NodeUnknown(refused.refusal.reason, refused.refusal.detail) from None


@dataclass(frozen=True)
class _Found:
    config: Mapping[str, object] | None = None
    directory: Path | None = None


@dataclass(frozen=True)
class _Model:
    """What the command line says of the model, and of the draft model where that is another one."""

    path: str | None
    revision: str | None
    draft_path: str | None
    draft_revision: str | None

    @classmethod
    def of(cls, command: CommandLine, version: str) -> _Model:
        argv = command.argv
        if command.engine == "sglang" and version in BY_VERSION:
            typed = read_argv(argv, BY_VERSION[version])
            dests = (
                "model_path",
                "revision",
                "speculative_draft_model_path",
                "speculative_draft_model_revision",
            )
            return cls(*(typed.text(dest) for dest in dests))
        positional = argv[0] if argv and command.engine == "vllm" and not argv[0].startswith("-") else None
        return cls(
            flag_value(argv, "--model-path", "--model") or positional,
            flag_value(argv, "--revision"),
            flag_value(argv, "--speculative-draft-model-path"),
            flag_value(argv, "--speculative-draft-model-revision"),
        )


def _config(
    stated: str | None, paths: tuple[str | None, ...], revision: str | None, command: CommandLine
) -> tuple[_Found, str]:
    """config.json, and why there is none: stated, else through the first path that leads to one.

    A --field model_path may be a name that only the key knows. The recipe refuses by itself where it needs a config.
    """
    base = Path(command.directory or "")
    absent = ""
    try:
        if stated is not None:
            file = Path(stated)
            return _Found(read_model_config(stated), file if file.is_dir() else file.parent), ""
        for path in filter(None, paths):
            try:
                is_local = (base / path).is_dir()
                file = find_model_config(str(base / path) if is_local else path, command.environ, revision)
            except ConfigNotFound as problem:
                absent = absent or str(problem)
            else:
                return _Found(read_model_config(str(file)), file.parent), ""
    except (OSError, ValueError) as problem:
        return _Found(), f"config.json: {problem}"[:300]
    return _Found(), absent


def _as_tuned(found: _Found) -> Mapping[str, object] | None:
    if found.config is None or found.directory is None:
        return found.config
    return with_side_file(found.config, found.directory)


def _side_config(directory: Path | None, name: str = QUANT_FILE) -> Mapping[str, object] | None:
    if directory is None:
        return None
    try:
        return read_model_config(str(directory / name))
    except (OSError, ValueError):
        return None


def _text_or_none(file: Path) -> str | None:
    try:
        return file.read_text(errors="replace")
    except OSError:
        return None


def _size(file: Path) -> int | None:
    try:
        return file.stat().st_size
    except OSError:
        return None


def flag_value(argv: tuple[str, ...], *names: str) -> str | None:
    """The last value of a flag in an argv whose engine's own flags are not in a table, in either spelling."""
    found: str | None = None
    for at, word in enumerate(argv):
        name, equals, attached = word.partition("=")
        if name in names:
            found = attached if equals else (argv[at + 1] if at + 1 < len(argv) else None)
    return found
