"""`read_register` takes what pydantic's strict mode takes, reads the same out of it, and refuses the rest."""

import dataclasses
import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tests.bundles import bundle, tombstone
from tests.unit.bundle_models import BundleModel, TombstoneModel

from cache_store.bundle import BadBundle, Bundle, CoverageRecord
from cache_store.bundle_json import MAX_TUNE_S, read_register
from cache_store.json_checks import MAX_TEXT

FULL = dataclasses.replace(
    bundle(restored_by="ann", driver="570", image="engine:1"),
    blobs={"a" * 64: 7},
    signature="s",
    coverage=CoverageRecord(
        ops={"fp8_gemm": 1},
        excluded={"bf16": "why"},
        buckets={"fp8_gemm": {"M x 4096": (1, 2, 4)}},
        expected=3,
        missing=1,
        first_missing=("k",),
        undecided={"x": "y"},
    ),
)
STONE = dataclasses.replace(
    tombstone(), identity=FULL.identity, ranks=FULL.ranks, expected_tune_s=93.5, retired_copy="retired/n.json"
)
DOCUMENTS = [json.loads(one.encode()) for one in (FULL, bundle(), STONE, tombstone())]

numbers = st.one_of(
    st.integers(-2, 2),
    st.sampled_from([2**63, -(2**63), 2**70, 10**400, MAX_TUNE_S, MAX_TUNE_S + 1]),
    st.floats(),
)
texts = st.one_of(
    st.text(max_size=5),
    st.sampled_from(["server", "pod", "a" * 64, "A" * 64, "a" * 64 + "\n", "rank_tp0.json", "../x.json", "é.json", "x.json\n"]),
    st.sampled_from([MAX_TEXT, MAX_TEXT + 1]).map(lambda size: "é" * size),
    st.just("\ud800"),
)  # fmt: skip
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=6,
)


def places(document, path=()):
    """Every path in it, its own first."""
    yield path
    inside = document.items() if isinstance(document, dict) else []
    for name, inner in inside:
        yield from places(inner, (*path, name))


def changed(document, path, change):
    if not path:
        return change(document)
    return {**document, path[0]: changed(document[path[0]], path[1:], change)}


@st.composite
def spoiled(draw):
    """A real document with a few places replaced, left out, renamed or added to."""
    document = draw(st.sampled_from(DOCUMENTS))
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(list(places(document))))
        kind = draw(st.sampled_from(["replace", "leave out", "rename", "add"]))
        if kind == "replace" or not path:
            new = draw(values)
            document = changed(document, path, lambda _, new=new: new)
        elif kind == "add":
            name, new = draw(texts), draw(values)
            document = changed(
                document,
                path,
                lambda old, name=name, new=new: {**old, name: new} if isinstance(old, dict) else old,
            )
        else:
            name = draw(texts) if kind == "rename" else None
            document = changed(
                document, path[:-1], lambda old, name=name, last=path[-1]: renamed(old, last, name)
            )
        if not isinstance(document, dict):
            break
    return json.dumps(document, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")  # fmt: skip


def renamed(old, last, name):
    rest = {key: value for key, value in old.items() if key != last}
    return rest if name is None else {**rest, name: old[last]}


def by_pydantic(body):
    """The document's fields, or None where pydantic refuses it."""
    for model in (BundleModel, TombstoneModel):
        try:
            return model.model_validate_json(body).model_dump(exclude={"schema_name"})
        except ValidationError:
            continue
    return None


def by_us(body):
    try:
        register = read_register(body)
    except BadBundle:
        return None
    return dataclasses.asdict(register)


@settings(max_examples=1500, deadline=None)
@given(spoiled())
@example(b"")
@example(b"null")
@example(b"[]")
@example(b"\xef\xbb\xbf{}")
@example(b'{"schema": "autotune-cache/bundle/v1"} x')
@example(FULL.encode().decode().encode("utf-16"))
@example(FULL.encode().replace(b'"pod-a"', b'"\\ud83d\\ude00"'))
@example(FULL.encode().replace(b'"pod-a"', b'"\\ude00\\ud83d"'))
@example(FULL.encode().replace(b'"pod-a"', b'"\xff"'))
@example(FULL.encode().replace(b'"pod-a"', b'"a\tb"'))
@example(FULL.encode().replace(b"93.5", b'93.5, "tune_s": 1e400'))
@example(FULL.encode().replace(b"93.5", b"NaN"))
@example(FULL.encode().replace(b"93.5", b"-0"))
@example(FULL.encode().replace(b'"epoch": 1', b'"epoch": 1.0'))
@example(FULL.encode().replace(b'"epoch": 1', b'"epoch": true'))
@example(FULL.encode().replace(b'"epoch": 1', b'"epoch": 01'))
@example(FULL.encode().replace(b'"epoch": 1', b'"epoch": 1, "epoch": 2'))
def test_any_document_is_taken_or_refused_as_pydantic_does(body):
    expected, found = by_pydantic(body), by_us(body)

    assert found == expected
    # 1 == True == 1.0 to Python
    assert repr(found) == repr(in_order_of(expected, found))


def in_order_of(expected, found):
    """Fields stand in another order in the two."""
    if not isinstance(expected, dict) or not isinstance(found, dict):
        return expected
    return {name: in_order_of(expected[name], inner) for name, inner in found.items()}


def test_whole_documents_are_not_refused():
    """Or the comparison above would be between two that refuse everything."""
    for one in (FULL, STONE, bundle(), tombstone()):
        assert read_register(one.encode()) == one
        assert by_pydantic(one.encode()) is not None


@pytest.mark.parametrize("spelled", ["Infinity", "-Infinity", "NaN", "1" * 5000])
def test_numbers_that_are_none_are_refused_wherever_they_stand(spelled):
    """pydantic reads these where a later release's field would stand; Python could not write them again."""
    body = FULL.encode().replace(b'"signature"', f'"later": {spelled}, "signature"'.encode())

    with pytest.raises(BadBundle, match="invalid JSON"):
        read_register(body)


def test_the_message_says_where_it_is_wrong():
    document = json.loads(FULL.encode())
    document["coverage"]["buckets"]["fp8_gemm"]["M x 4096"][1] = -1

    with pytest.raises(BadBundle) as caught:
        read_register(json.dumps(document).encode())

    assert (caught.value.reason, caught.value.detail) == (
        "bundle-corrupt",
        "coverage.buckets.fp8_gemm.M x 4096.1: it must not be negative",
    )


def test_what_is_written_is_read_again_whatever_the_text():
    odd = dataclasses.replace(FULL, nonce='"\\\u2028\x00é😀')

    read = read_register(odd.encode())

    assert isinstance(read, Bundle)
    assert read == odd


def test_a_text_that_utf8_cannot_hold_is_not_written():
    with pytest.raises(ValueError, match="surrogates"):
        dataclasses.replace(FULL, nonce="\ud800").encode()
