"""What the bucket says to what a workload wants, and how that reads."""

import pytest
from tests import bundles
from tests.kube import manifests as m
from tests.pods import ENGINE, ROOT

from autotune_init.facts import load_facts
from autotune_init.fleet_identity import ModelConfig, Stated
from autotune_init.fleet_lookup import Found, of_claim, of_register
from autotune_init.fleet_pods import pod_of
from autotune_init.fleet_rows import rows_of, with_found
from autotune_init.fleet_table import table
from autotune_init.fleet_workloads import gather
from autotune_init.model_config import read_model_config
from cache_store.cli.views import Reading

FACTS = load_facts(str(ROOT / "examples" / "facts-h100.json"))
CONFIG = ModelConfig(read_model_config(str(ROOT / "examples" / "model")))
STATED = Stated({m.PRODUCT: FACTS}, {"models/qwen3": CONFIG})


def rows(pods, products=None, stated=None, store=None):
    return rows_of(gather(map(pod_of, pods), []), products or {}, stated or Stated(), store)


HIT, MISS, RETIRED = Found("hit", "found"), Found("miss", "miss"), Found("miss", "retired")
CLAIMED, QUARANTINED = Found("miss", "claimed", holder="a"), Found("miss", "quarantined")


@pytest.mark.parametrize(
    ("target", "draft", "state", "reason", "is_to_tune"),
    [
        (HIT, None, "hit", "found", False),
        (MISS, None, "miss", "miss", True),
        (RETIRED, None, "miss", "retired", True),
        (CLAIMED, None, "miss", "claimed", False),
        (QUARANTINED, None, "miss", "quarantined", False),
        (Found("miss", "bundle-corrupt"), None, "miss", "bundle-corrupt", False),
        (HIT, MISS, "miss", "miss", True),
        (HIT, CLAIMED, "miss", "claimed", False),
        (MISS, QUARANTINED, "miss", "miss", False),
        (HIT, HIT, "hit", "found", False),
    ],
)
def test_the_state_is_that_of_the_worse_of_target_and_draft(target, draft, state, reason, is_to_tune):
    key = {"key": "f" * 16, "reason": "miss"} if draft else None
    (row,) = rows([m.pod(message=m.report(draft=key))])
    found = {row.wants.address: target, row.wants.draft: draft}
    row = with_found(row, {m.STORE: found})

    assert (row.state, row.reason, row.is_to_tune) == (state, reason, is_to_tune)


def view(**changes):
    return {"verdict": "free", "age_s": None, "held_s": None, "holder": None, "error": None, **changes}


STONE = Reading("tombstone", bundles.tombstone())


@pytest.mark.parametrize(
    ("reading", "claim", "expected"),
    [
        (Reading("orphaned"), None, MISS),
        (Reading("orphaned"), view(), MISS),
        (STONE, None, Found("miss", "retired", "bad tactic (by ops)")),
        (STONE, view(), Found("miss", "retired", "bad tactic (by ops)")),
        (
            Reading("orphaned"),
            view(verdict="held", holder="pod-a", age_s=4.0, held_s=40.0),
            Found("miss", "claimed", "somebody is tuning it", holder="pod-a", since_s=44.0),
        ),
        (
            Reading("orphaned"),
            view(verdict="held"),
            Found("miss", "claimed", "somebody is tuning it"),
        ),
        (
            Reading("orphaned"),
            view(verdict="cooling-down", error="OOM"),
            Found("miss", "cooling-down", "the last tune failed: OOM"),
        ),
        (Reading("orphaned"), view(verdict="unknown"), MISS),
    ],
)
def test_what_a_claim_means(reading, claim, expected):
    assert of_claim(reading, claim) == expected


def test_what_a_register_means():
    assert of_register(Reading("published", bundles.bundle())) == Found("hit", "found", tune_s=93.5)
    assert of_register(Reading("published", bundles.bundle({}))) == Found("hit", "empty", tune_s=93.5)
    quarantined = Reading("quarantined", bundles.tombstone(may_retune=False))
    assert of_register(quarantined) == Found("miss", "quarantined", "bad tactic (by ops)")
    unreadable = Reading("unreadable", problem="bundle-schema", detail="v9")
    assert of_register(unreadable) == Found("miss", "bundle-schema", "v9")
    assert of_register(STONE) is None


@pytest.mark.parametrize(
    ("annotations", "said"),
    [
        ({"autotune-cache.dev/status": "left alone: it is a Windows pod"}, "Windows"),
        ({}, "older than the label"),
    ],
)
def test_a_pod_that_was_left_alone_wants_nothing(annotations, said):
    bare = {"containers": [m.engine(ENGINE)]}
    (row,) = rows([m.pod("qwen3", spec_=bare, node="n", annotations=annotations)], {"n": m.PRODUCT}, STATED)

    assert (row.state, row.reason) == ("refused", "not-injected")
    assert said in row.detail


def test_a_table_of_nothing_known_is_still_a_table():
    lines = list(table(rows([m.pod(spec_={"containers": [{"name": "a"}, {"name": "b"}]})])))

    assert lines[0] == "unknown"
    assert lines[-1] == "1 rows: 0 hit, 0 miss (0 to tune), 1 refused; saved 0s of tuning"
