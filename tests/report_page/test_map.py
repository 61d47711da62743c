"""The heat map: each cell says what is there, and leads to exactly its rows."""

from dataclasses import replace

import pytest
from tests import bundles
from tests.cli.conftest import Shop
from tests.report_page.reading import column, found, wait_found

MODELS = ("Qwen/Qwen3", "Qwen/Qwen3-30B", "qwen/qwen3-30b-fp8", "(others)")
GPUS = 15


@pytest.fixture(scope="module")
def many_gpus(tmp_path_factory):
    """Models whose names begin with each other's, on more GPUs than the map has columns, in every state."""
    shop = Shop()
    for gpu in range(GPUS):
        metadata = {**bundles.H100, "gpu": f"NVIDIA X{gpu} 80GB" if gpu else "(others)"}
        for number, model in enumerate(MODELS):
            for copy in range(1 + (gpu + number) % 3):
                who = bundles.identity(metadata, key=f"{gpu:04x}{number:04x}{copy:08x}")
                who = replace(who, key_inputs={"model_path": model})
                one = bundles.bundle(who=who, nonce=f"n{gpu}-{number}-{copy}")
                if copy == 1:
                    one = replace(one, coverage=replace(one.coverage, expected=10, missing=gpu % 2))
                if copy == 2:
                    stone = replace(bundles.tombstone(may_retune=False), identity=one.identity)
                    shop.put(who.address.bundle_key, stone.encode())
                else:
                    shop.publish(one)
    page = tmp_path_factory.mktemp("map") / "fleet.html"
    assert shop("report", "--html", page).code == 0
    return page


def test_every_cell_leads_to_exactly_its_rows(opened, many_gpus):
    page = opened(many_gpus)
    page.fill("#q", "nothing has this")
    page.select_option("#f-state", "quarantined")
    page.select_option("#f-version", "0.7.2")
    wait_found(page, lambda count: count == 0)

    counts = page.locator(".map td[data-total]").evaluate_all(
        "all => all.map(one => { one.firstChild.click();"
        "  return [+one.dataset.total, parseInt(document.getElementById('found').textContent), location.hash]; })"
    )

    assert len(counts) == len(MODELS) * 13
    assert [one for one in counts if one[0] != one[1]] == []
    assert sum(one[0] for one in counts) == found(page)[1]
    assert page.evaluate("document.activeElement.id") == "inventory"
    total, shown, fragment = counts[12]
    assert "gpu=%28others%29" in fragment
    again = opened(many_gpus, fragment=fragment)
    assert found(again)[0] == total == shown


def test_a_cell_says_what_it_is_and_marks_what_is_not_well(opened, many_gpus):
    page = opened(many_gpus)
    cell = page.get_by_role("button", name="Qwen/Qwen3-30B on X1 80GB: 0 of 2 complete; 90 %")

    assert cell.get_attribute("aria-label").endswith("Show 3 rows")
    assert "90 % of expected entries, 1 unknown, 1 quarantined" in cell.inner_text()
    assert cell.locator(".flag").count() == 1
    cell.click()
    assert sorted(column(page, 5)) == ["-", "incomplete 90 %", "unknown"]
    assert set(column(page, 1)) == {"Qwen/Qwen3-30B"}


def test_models_are_in_the_order_of_their_names(opened, many_gpus):
    page = opened(many_gpus)

    assert page.locator(".map tbody th").all_inner_texts() == sorted(MODELS, key=str.casefold)
    assert page.locator(".map thead th").last.inner_text() == "(others)"
    assert page.locator(".legend").first.inner_text().count("complete") >= 3
