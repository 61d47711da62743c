"""`--report-to-store`: one object about how this start ended, for the fleet's statistics.

Sent when everything else is done, in one request that is never repeated; whatever happens to it is one line on stderr.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Literal, cast

from autotune_init.report import Report
from autotune_init.settings import Settings
from autotune_init.story import Story
from autotune_init.within_budget import within_budget
from cache_store.clock import Clock, fresh_nonce
from cache_store.errors import StoreError
from cache_store.store_environ import store_environ

BUDGET_S = 2.0  # of a pod that could start by now


def send_record(
    report: Report,
    settings: Settings,
    environ: Mapping[str, str],
    clock: Clock,
    story: Story,
    *,
    left_s: float,
) -> None:
    """Takes at most `BUDGET_S`, or `left_s` if that is less, and raises nothing."""
    if not settings.store:
        return
    budget_s = min(BUDGET_S, left_s)
    problem = within_budget(
        lambda: _send(report, settings, environ, clock, budget_s), budget_s, says=StoreError
    )
    if problem:
        story.tell(f"no record in the store: {problem}")


def _send(
    report: Report, settings: Settings, environ: Mapping[str, str], clock: Clock, budget_s: float
) -> None:
    from cache_store.objects.open_url import open_store
    from cache_store.use_record import UseRecord, record_key

    now = clock.now()
    record = UseRecord(
        at=now.isoformat(),
        outcome=report.outcome.value,
        reason=report.reason[:200],
        flashinfer_version=report.flashinfer_version,
        arch=report.arch,
        key=report.key,
        environment=report.environment,
        nonce=report.nonce,
        seconds=report.seconds,
        saved_s=report.saved_s,
        tune_s=report.tune_s,
        requests=report.requests,
        holder=(settings.holder or socket.gethostname())[:200],
        program=report.program,
    )
    store = open_store(
        settings.store or "",
        environ=store_environ(environ),
        adapter=cast("Literal['auto', 'obstore', 'fsspec']", settings.store_adapter),
        request_timeout_s=min(settings.request_timeout_s, budget_s),
    )
    try:
        store.put_if_absent(record_key(now, fresh_nonce()), record.encode())
    finally:
        store.close()
