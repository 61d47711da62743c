"""The policies of docs/coordination.md say what their text says. tests/stores/live/test_rights.py tries them."""

import json
import re

from tests.bundles import identity
from tests.pods import ROOT

from cache_store.cli.diagnosis import iam_policy

PAGE = (ROOT / "docs" / "coordination.md").read_text()
READERS, TUNERS, EVERYBODY = (
    json.loads(text) for text in re.findall(r"```json\n(.+?)\n```", PAGE, re.DOTALL)
)


def test_the_policy_of_tuners_is_what_doctor_prints():
    assert iam_policy("s3://models/autotune", "eu-west-1") == TUNERS


def test_readers_can_only_read():
    actions = {action for one in READERS["Statement"] for action in one["Action"]}

    assert actions == {"s3:ListBucket", "s3:GetObject"}


def test_everybody_is_denied_to_write_registers_without_a_condition_and_to_delete_them():
    registers = {identity().address.bundle_key, identity().address.claim_key, "_groups/a-0/roll.json"}
    patterns = [
        re.escape(one.removeprefix("arn:aws:s3:::models/autotune/")).replace(r"\*", ".*")
        for one in EVERYBODY["Statement"][0]["Resource"]
    ]

    assert {one["Effect"] for one in EVERYBODY["Statement"]} == {"Deny"}
    assert all(any(re.fullmatch(pattern, key) for pattern in patterns) for key in registers)
    assert EVERYBODY["Statement"][0]["Resource"] == EVERYBODY["Statement"][1]["Resource"]
    # both keys in one block: denied only where neither header is there
    assert EVERYBODY["Statement"][0]["Condition"] == {
        "Null": {"s3:if-none-match": "true", "s3:if-match": "true"}
    }
