"""A memo is a note from outside: read only by those who asked the same, and only when it is one."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache_store.layout import MEMOS
from cache_store.memo import MAX_MEMO_BYTES, SCHEMA, BadMemo, Memo, memo_key, parse_memo

INPUTS = {
    "engine": "sglang",
    "argv": ["--tp", "2"],
    "files": {"config.json": "ab", "*.py": None},
    "memory_mib": 81559,
}
ANSWER = {"schema": "autotune-cache/resolution/v1", "workers": [{"role": "target", "tunes": None}]}


def written(**changes):
    return {**json.loads(Memo(inputs=INPUTS, answer=ANSWER).encode()), **changes}


def test_a_memo_is_read_back_by_whoever_asked_the_same():
    body = Memo(inputs=INPUTS, answer=ANSWER, holder="pod-a", program="autotune-cache 1").encode()

    memo = parse_memo(body, dict(reversed(INPUTS.items())))

    assert (memo.answer, memo.holder, memo.program) == (ANSWER, "pod-a", "autotune-cache 1")
    assert json.loads(body)["schema"] == SCHEMA


def test_its_key_is_a_name_below_its_folder_that_the_order_of_inputs_does_not_change():
    key = memo_key(INPUTS)

    assert key.startswith(MEMOS)
    assert len(key) == len(MEMOS) + 64 + len(".json")
    assert key == memo_key(dict(reversed(INPUTS.items())))


@given(st.sampled_from(sorted(INPUTS)), st.text(min_size=1, max_size=8))
def test_any_other_input_is_another_key(name, value):
    assert memo_key({**INPUTS, name: value}) != memo_key(INPUTS)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "invalid JSON"),
        (b"[]", "object"),
        (b"\xff\xfe", "invalid JSON"),
        (b"[" * 100_000, "nested deeper"),
        (b" " * (MAX_MEMO_BYTES + 1), "larger than"),
        (json.dumps(written(schema="autotune-cache/resolution-memo/v2")).encode(), "schema"),
        (json.dumps(written(answer=[])).encode(), "answer"),
        (json.dumps(written(inputs={**INPUTS, "argv": ["--tp", "4"]})).encode(), "other inputs"),
        (
            json.dumps({name: value for name, value in written().items() if name != "answer"}).encode(),
            "answer",
        ),
    ],
    ids=["empty", "list", "no text", "deep", "large", "schema", "answer", "other inputs", "no answer"],
)
def test_what_is_no_memo_for_these_inputs_is_refused(body, why):
    with pytest.raises(BadMemo, match=why):
        parse_memo(body, INPUTS)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_memo_or_refused(body):
    with pytest.raises(BadMemo):
        parse_memo(body, INPUTS)
