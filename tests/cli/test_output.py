"""What reaches stdout: JSON without numbers that it does not have, and columns that line up whatever a bucket says."""

import json
from types import MappingProxyType

import pytest

from cache_store.cli import output

HEADER = ["ADDRESS", "MODEL"]


def test_given_a_number_that_json_has_not_when_told_then_it_is_null_and_all_else_as_it_was(capsys):
    document = {
        "age_s": float("inf"),
        "rows": ({"took_s": float("nan"), "ok": True}, [1.5, "é"]),
        "none": None,
    }

    output.emit_json(document)

    told = capsys.readouterr().out
    assert told.isascii()
    assert told.endswith("}\n")
    assert json.loads(told) == {
        "age_s": None,
        "rows": [{"took_s": None, "ok": True}, [1.5, "é"]],
        "none": None,
    }


def test_given_a_mapping_that_is_no_dict_when_told_then_it_is_an_object(capsys):
    output.emit_json({"metadata": MappingProxyType({"gpu": "NVIDIA H200"})})

    assert json.loads(capsys.readouterr().out) == {"metadata": {"gpu": "NVIDIA H200"}}


@pytest.mark.parametrize(
    ("rows", "lines"),
    [
        ([["a/b", "Qwen"], ["a", ""]], ["ADDRESS  MODEL", "a/b      Qwen", "a        -"]),
        ([["100%s", "%d%%"], [7, None]], ["ADDRESS  MODEL", "100%s    %d%%", "7        None"]),
        ([["模型", "x"], ["a", "y"]], ["ADDRESS  MODEL", "模型     x", "a        y"]),
        ([["\x1b[31m", "x"], ["a", "y\n"]], ["ADDRESS   MODEL", "\\x1b[31m  x", "a         y\\n"]),
        ([], ["ADDRESS  MODEL"]),
    ],
    ids=["plain", "percent signs", "wide", "control characters", "no rows"],
)
def test_columns_line_up(capsys, rows, lines):
    output.emit_table(HEADER, rows)

    assert capsys.readouterr().out.splitlines() == lines
