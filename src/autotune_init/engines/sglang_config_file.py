"""SGLang's `--config FILE.yaml`, put into the command line as the release itself does it. Pure.

Source: class ConfigArgumentMerger in SGLang 0.5.12 to 0.5.18 srt/server_args_config_parser.py, 0.5.19 to 0.5.23
srt/utils/server_args_config_parser.py, and `prepare_server_args` in srt/server_args.py, which reads the file only for
the word `--config` itself. tests/data/sglang_config_file_golden.json has the releases' own answers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath

from autotune_init.engines.sglang import Refused
from autotune_init.engines.sglang_versions import BY_VERSION, PLACES
from autotune_init.engines.sglang_words import options_of
from cache_store.pattern import pattern

REASON = "key-config-file"
FLAG = "--config"
MAX_YAML_CHARACTERS = 64 * 1024
MAX_NODES = 10_000  # YAML's aliases make a short text into an endless one
_SUFFIXES = (".yaml", ".yml")
_SHOWN = 80
# PyYAML 6.0 constructor.py, for tags that do not fit their text (`!!bool x`, `!!int ''`, `!!timestamp x`) and deep nesting
_YAML_ALSO_RAISES = (ValueError, LookupError, AttributeError, TypeError, RecursionError, OverflowError)
_KEY = pattern(r"[a-z0-9][a-z0-9-]*\Z")

_LONG_SPELLINGS_SINCE = "0.5.23"  # before, a switch is known by its field's name only
_DICTIONARIES_AS_JSON_SINCE = "0.5.14"  # before, as Python writes them

# keys that the release refuses, because their flag, or an alias that writes into the same field, is neither a switch
# nor takes one value: (the first release that refuses them, the first that does not any more) -> with underscores
_REFUSED: Mapping[tuple[str, str | None], str] = {
    ("0.5.12", "0.5.13"): "record_nolora_graph",
    ("0.5.12", "0.5.14"): "enable_piecewise_cuda_graph hybrid_kvcache_ratio",
    ("0.5.12", "0.5.20"): (
        "collect_tokens_histogram incremental_streaming_output prefill_round_robin_balance"
    ),
    ("0.5.12", None): "experts_shared_outer_loras lora_paths lora_strict_loading",
    ("0.5.13", "0.5.20"): (
        "dsa_decode_backend dsa_prefill_backend dsa_prefill_cp_mode enable_dsa_prefill_context_parallel "
        "speculative_draft_window_size"
    ),
    ("0.5.14", "0.5.20"): (
        "cuda_graph_backend_prefill cuda_graph_bs_decode cuda_graph_bs_prefill cuda_graph_max_bs_decode "
        "cuda_graph_max_bs_prefill cuda_graph_tc_compiler enable_prefill_context_parallel "
        "mamba_radix_cache_strategy prefill_cp_mode"
    ),
    ("0.5.14", None): "disable_cuda_graph",
    ("0.5.16", None): "dllm_fdfo",
    ("0.5.17", "0.5.20"): "enable_linear_replayssm_spec",
    ("0.5.17", None): "dcp_replicate_q_proj",
    ("0.5.18", "0.5.20"): "enable_expert_distribution_metrics",
    ("0.5.18", None): "enable_tp_lm_head_all_to_all",
    ("0.5.20", None): "ple_offload_embedding",
    ("0.5.22", None): "enable_dp_attention enable_dsa_fused_indexer speculative_enable_w4a4_mxfp4_megamoe",
    ("0.5.23", None): (
        "enable_decoder_swa_bounded_replay enable_fused_qk_norm_rope enable_tf32_matmul "
        "mm_enable_dp_encoder no_dcp_replicate_q_proj no_dllm_fdfo no_enable_decoder_swa_bounded_replay "
        "no_enable_dsa_fused_indexer no_enable_fused_qk_norm_rope no_enable_tf32_matmul "
        "no_enable_tp_lm_head_all_to_all no_experts_shared_outer_loras no_lora_strict_loading "
        "no_mm_enable_dp_encoder no_ple_offload_embedding no_speculative_enable_w4a4_mxfp4_megamoe"
    ),
}
REFUSED_FROM_TO = {key: span for span, keys in _REFUSED.items() for key in keys.split()}


def config_path(argv: Sequence[str]) -> str | None:
    """The file that the engine will read; None where it reads none. Raises `Refused`: key-config-file."""
    at = [position for position, word in enumerate(argv) if word == FLAG]
    attached = next((word for word in argv if word.startswith(f"{FLAG}=")), None)
    if attached is not None:
        raise Refused(
            REASON, f"{attached[:_SHOWN]} is not read by the engine; write {FLAG} FILE as two words"
        )
    if not at:
        return None
    if len(at) > 1:
        raise Refused(REASON, f"several {FLAG}; the engine takes one")
    if at[0] + 1 == len(argv):
        raise Refused(REASON, f"{FLAG} without a file")
    path = argv[at[0] + 1]
    if PurePosixPath(path).suffix.lower() not in _SUFFIXES:
        raise Refused(REASON, f"{path[:_SHOWN]!r} is not named .yaml or .yml, which the engine insists on")
    return path


def merge(argv: tuple[str, ...], yaml_text: str, release_version: str) -> tuple[str, ...]:
    """The command line with the file's flags in front, so that the command line's own win.

    `argv` are the words behind the program, `yaml_text` what lies at `config_path(argv)`. Raises `Refused`:
    key-config-file where the engine would not start, unknown-engine-version.
    """
    if release_version not in BY_VERSION:
        raise Refused("unknown-engine-version", f"SGLang {release_version[:_SHOWN]}")
    if config_path(argv) is None:
        return argv
    words: list[str] = []
    for key, value in _document(yaml_text).items():
        words += _words(key, value, release_version)
    at = argv.index(FLAG)
    return (*words, *argv[:at], *argv[at + 2 :])


def _document(yaml_text: str) -> dict[object, object]:
    import yaml

    if len(yaml_text) > MAX_YAML_CHARACTERS:
        raise Refused(REASON, f"the file is longer than {MAX_YAML_CHARACTERS} characters")
    try:
        document = yaml.safe_load(yaml_text)
    except (yaml.YAMLError, *_YAML_ALSO_RAISES) as error:
        raise Refused(REASON, f"not YAML: {' '.join(str(error).split())}"[:200]) from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise Refused(REASON, "the file is no mapping of flags to values")
    _refuse_odd_values(document)
    return document


def _refuse_odd_values(document: dict[object, object]) -> None:
    """Endless ones, and sets: Python writes those in another order in each process."""
    left: list[object] = [document]
    for _ in range(MAX_NODES):
        if not left:
            return
        node = left.pop()
        if isinstance(node, dict):
            left += [*node.keys(), *node.values()]
        elif isinstance(node, list | tuple):
            left += node
        elif isinstance(node, set):
            raise Refused(REASON, "the file holds a set (!!set), whose order is not known")
    raise Refused(REASON, f"the file has more than {MAX_NODES} values")


def _words(key: object, value: object, version: str) -> list[str]:
    if not isinstance(key, str):
        raise Refused(REASON, f"the key {key!r} is no text"[:_SHOWN])
    normal = key.replace("-", "_")
    if normal in REFUSED_FROM_TO and _is_within(version, REFUSED_FROM_TO[normal]):
        raise Refused(REASON, f"SGLang {version} takes no {key[:_SHOWN]!r} from a file")
    flag = f"--{key}"
    if isinstance(value, bool):
        words = [flag, str(value).lower()]
        if normal in _switches(version):
            words = [flag] if value else []
    elif isinstance(value, list):
        words = [flag, *(_written(key, item, str) for item in value)] if value else []
    elif isinstance(value, dict) and _is_within(version, (_DICTIONARIES_AS_JSON_SINCE, None)):
        words = [flag, _written(key, value, json.dumps)]
    else:
        words = [flag, _written(key, value, str)]
    if words and not _KEY.match(key):
        raise Refused(
            REASON, f"the engine knows no --{key[:_SHOWN]}; flags are written as on the command line"
        )
    if words and flag == FLAG:
        raise Refused(REASON, f"{FLAG} inside of the file")
    return words


def _switches(version: str) -> frozenset[str]:
    """The keys that the merger writes without a value."""
    switches = {
        flag: option for flag, option in options_of(BY_VERSION[version]).items() if option.count == "none"
    }
    names = {option.dest for option in switches.values()}
    if _is_within(version, (_LONG_SPELLINGS_SINCE, None)):
        names |= {flag[2:].replace("-", "_") for flag in switches}
    return frozenset(names)


def _written(key: str, value: object, write: Callable[[object], str]) -> str:
    try:
        return write(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise Refused(REASON, f"the value of {key[:_SHOWN]!r} cannot be written: {error}"[:200]) from None


def _is_within(version: str, span: tuple[str, str | None]) -> bool:
    since, until = span
    at = PLACES[version]
    return at >= PLACES[since] and (until is None or at < PLACES[until])
