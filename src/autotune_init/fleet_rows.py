"""From workloads to the rows that people and scripts read: what each wants, and whether the bucket has it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from autotune_init.fleet_identity import (
    NOT_INJECTED,
    Refused,
    Reported,
    Stated,
    Wanted,
    by_recipe,
    identify,
    reported_of,
)
from autotune_init.fleet_lookup import Found
from autotune_init.fleet_pods import ANNOTATION, INIT, PodSeen
from autotune_init.fleet_template import Engine, Unclear, engine_of
from autotune_init.fleet_workloads import Workload
from cache_store.dataclass import dataclass, replace
from cache_store.identity import Address

SCHEMA = "autotune-cache/fleet/v1"
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Row:
    """Pods of one workload on one kind of GPU that want the same bundle. `saved_s` is the sum of what they reported.

    `store` is the URL that they use, None where only they know it. `engine` is refused where the template does not say
    which container that is, or how it is started. `is_label`: `gpu` is a value of the nodes' label.
    """

    gpu: str
    workload: Workload
    replicas: int
    wants: Wanted | Refused
    store: str | None
    engine: Engine | Refused
    saved_s: float
    is_label: bool = False
    found: Found | None = None
    found_draft: Found | None = None

    @property
    def state(self) -> str:
        """hit, miss, refused: no bundle can be named or none would be used."""
        return self._worst.state if self._worst is not None else "refused"

    @property
    def reason(self) -> str:
        if isinstance(self.wants, Refused):
            return self.wants.reason
        return self._worst.reason if self._worst is not None else "no-store"

    @property
    def detail(self) -> str:
        if isinstance(self.wants, Refused):
            return self.wants.detail
        if self._worst is None:
            return "which store is not known: state --store"
        whose = "draft worker: " if self._worst is not self.found else ""
        return f"{whose}{self._worst.detail}" if self._worst.detail else ""

    @property
    def is_to_tune(self) -> bool:
        """Nobody has it, nobody tunes it, and nothing speaks against it."""
        return any(one is not None and one.reason in ("miss", "retired") for one in self._both) and all(
            one is None or one.state == "hit" or one.reason in ("miss", "retired") for one in self._both
        )

    @property
    def _both(self) -> tuple[Found | None, Found | None]:
        return self.found, self.found_draft

    @property
    def _worst(self) -> Found | None:
        return next((one for one in self._both if one is not None and one.state != "hit"), self.found)


def rows_of(
    workloads: Iterable[Workload], products: Mapping[str, str], stated: Stated, store: str | None
) -> tuple[Row, ...]:
    """Not looked up yet. `products`: node -> GPU. `store` is that of the terminal, which wins."""
    rows: dict[tuple[Any, ...], Row] = {}
    for workload in workloads:
        engine = _engine(workload)
        recipes: dict[str, Wanted | Refused] = {}
        for pod in workload.pods or (None,):
            gpu, is_label = _gpu(workload, pod, engine, products)
            if gpu not in recipes:
                names = (workload.path, workload.name)
                recipes[gpu] = (
                    engine if isinstance(engine, Refused) else by_recipe(engine, names, gpu, stated)
                )
            report = _report(pod)
            wants = identify(report, recipes[gpu])
            row = Row(
                gpu=gpu,
                workload=workload,
                replicas=1 if pod else workload.replicas,
                wants=wants,
                store=store or (engine.settings.store if isinstance(engine, Engine) else None),
                engine=engine,
                saved_s=report.saved_s if isinstance(report, Reported) else 0.0,
                is_label=is_label,
            )
            key = (gpu, workload.namespace, workload.kind, workload.name, _what(wants))
            known = rows.get(key)
            rows[key] = (
                row
                if known is None
                else replace(
                    known, replicas=known.replicas + row.replicas, saved_s=known.saved_s + row.saved_s
                )
            )
    return tuple(rows[key] for key in sorted(rows, key=str))


def addresses_of(rows: Iterable[Row]) -> dict[str, set[Address]]:
    """Store -> what is to be looked up there."""
    wanted: dict[str, set[Address]] = {}
    for row in rows:
        if row.store and isinstance(row.wants, Wanted):
            both = {row.wants.address, *([row.wants.draft] if row.wants.draft else [])}
            wanted.setdefault(row.store, set()).update(both)
    return wanted


def with_found(row: Row, found: Mapping[str, Mapping[Address, Found]]) -> Row:
    if not row.store or not isinstance(row.wants, Wanted):
        return row
    there = found[row.store]
    draft = there[row.wants.draft] if row.wants.draft else None
    return replace(row, found=there[row.wants.address], found_draft=draft)


def document_of(rows: Iterable[Row], warnings: Iterable[str]) -> dict[str, Any]:
    """docs/schemas/autotune-init-fleet.schema.json."""
    return {"schema": SCHEMA, "rows": [_view(row) for row in rows], "warnings": list(warnings)}


def _view(row: Row) -> dict[str, Any]:
    wants = row.wants
    worst = next((one for one in (row.found, row.found_draft) if one and one.holder), None)
    return {
        "gpu": row.gpu,
        "namespace": row.workload.namespace,
        "kind": row.workload.kind,
        "workload": row.workload.name,
        "replicas": row.replicas,
        "engine": wants.engine,
        "state": row.state,
        "reason": row.reason,
        "detail": row.detail,
        "source": wants.source if isinstance(wants, Wanted) else None,
        "address": str(wants.address) if isinstance(wants, Wanted) else None,
        "key": wants.address.key if isinstance(wants, Wanted) else None,
        "draft_key": wants.draft.key if isinstance(wants, Wanted) and wants.draft else None,
        "saved_s": row.saved_s,
        "tune_s": row.found.tune_s if row.found else None,
        "holder": worst.holder if worst else None,
        "since_s": worst.since_s if worst else None,
        "is_to_tune": row.is_to_tune,
    }


def _gpu(
    workload: Workload, pod: PodSeen | None, engine: Engine | Refused, products: Mapping[str, str]
) -> tuple[str, bool]:
    """(heading, whether nodes are labelled so): the node's label, else what the owner asks for."""
    if pod is not None and pod.node in products:
        return products[pod.node or ""], True
    asked = (pod.template if pod else workload.template).product
    if asked:
        return asked, True
    stated = engine.settings.gpu_name if isinstance(engine, Engine) else None
    return (stated.replace(" ", "-") if stated else UNKNOWN), False


def _engine(workload: Workload) -> Engine | Refused:
    try:
        return engine_of(workload.template)
    except Unclear as problem:
        return Refused(problem.reason, problem.detail)


def _report(pod: PodSeen | None) -> Reported | Refused | None:
    """None where nothing can be expected yet, and the recipe's own words say more."""
    if pod is None:
        return None
    if pod.template.init_container(INIT) is None:
        status = pod.template.annotations.get(f"{ANNOTATION}status")
        return Refused(
            NOT_INJECTED, status or "it is older than the label or the policy, or no policy is here"
        )
    if not pod.message:
        return None
    return reported_of(pod.message)


def _what(wants: Wanted | Refused) -> str:
    if isinstance(wants, Wanted):
        return f"{wants.address} {wants.draft}"
    return f"~{wants.reason}"
