"""What a set of rank files covers, what it lacks of what the model will ask for, and whom that hurts. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from autotune_init.engines import EngineCache
from autotune_init.engines.rank_keys import rank_count, version_of
from autotune_init.expected_keys import Expected, Gap, missing
from cache_store.bundle import CoverageRecord
from cache_store.rank_file import RankFile, bucket_of, op_of, parse_key, shape_of

MAX_ROWS = 200
MAX_GAPS = 5
_GAP_CHARACTERS = 300

Table = dict[str, dict[str, tuple[int, ...]]]


def coverage_of(
    rank_files: Mapping[str, RankFile],
    excluded: Mapping[str, str] | None = None,
    expected: Expected | None = None,
) -> CoverageRecord:
    """Of all ranks' files; without `expected` completeness stays unknown. `excluded`: left out on purpose, and why."""
    table, left_out = buckets_by_shape(rank_files)
    best = max(
        rank_files.values(), key=lambda file: len(file.entries), default=RankFile({}, {}, has_records=False)
    )
    expected = expected or Expected()
    gaps = missing(expected, rank_files)
    is_judged = expected.count is not None or bool(gaps)
    return CoverageRecord(
        ops=best.ops(),
        entries=len(best.entries),
        max_bucket=best.max_bucket(),
        excluded=dict(excluded or {}),
        buckets=table,
        rows_left_out=left_out,
        expected=expected.count,
        missing=sum(len(gap.buckets) for gap in gaps) if is_judged else None,
        first_missing=tuple(str(gap)[:_GAP_CHARACTERS] for gap in gaps[:MAX_GAPS]),
        undecided=dict(expected.undecided),
    )


def buckets_by_shape(rank_files: Mapping[str, RankFile]) -> tuple[Table, int]:
    """(op -> shape -> buckets, number of rows beyond the first 200).

    A bucket counts where every rank has it that has the shape at all: pipeline stages hold other layers.
    """
    rows: dict[tuple[str, str], set[int]] = {}
    for file in {id(file): file for file in rank_files.values()}.values():
        for row, buckets in _rows(file).items():
            rows[row] = rows[row] & buckets if row in rows else buckets
    table: Table = {}
    for op, shape in sorted(rows)[:MAX_ROWS]:
        table.setdefault(op, {})[shape] = tuple(sorted(rows[op, shape]))
    return table, max(0, len(rows) - MAX_ROWS)


def is_incomplete_for(cache: EngineCache, gaps: tuple[Gap, ...]) -> bool:
    """Whether files with these gaps must not be installed: the engine would take them whole and tune nothing more.

    vLLM from 0.33 with several ranks skips its whole tuning sweep once its files match (vLLM 0.33.0, kernel_warmup.py
    `_all_ranks_have_matching_cache`). One rank alone has FlashInfer's own store, which fills its gaps, as SGLang does.
    """
    skips_the_sweep = (
        cache.engine == "vllm" and version_of(cache.engine_version) >= (0, 33, 0) and rank_count(cache) > 1
    )
    return skips_the_sweep and bool(gaps)


def told(gaps: tuple[Gap, ...]) -> str:
    """One line for a person."""
    count = sum(len(gap.buckets) for gap in gaps)
    more = f" and {len(gaps) - MAX_GAPS} more" if len(gaps) > MAX_GAPS else ""
    return (
        f"{count} entries are missing: "
        + "; ".join(str(gap)[:_GAP_CHARACTERS] for gap in gaps[:MAX_GAPS])
        + more
    )


def _rows(file: RankFile) -> dict[tuple[str, str], set[int]]:
    rows: dict[tuple[str, str], set[int]] = {}
    for text in file.entries:
        rows.setdefault((op_of(text), shape_of(parse_key(text))), set()).add(bucket_of(text))
    return rows
