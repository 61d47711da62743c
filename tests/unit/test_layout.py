"""What is ours in a bucket: told by one module, so that no command lists what another takes for somebody else's."""

import pytest
from tests.bundles import identity

from cache_store.collecting import sort_out
from cache_store.inventory import take_inventory
from cache_store.layout import folder_of, kind_of
from cache_store.objects import Entry

PLACE = identity().address
DIGEST = "a" * 64

NAMES = {
    "bundle.json": "register",
    "claim.json": "claim",
    f"blobs/{DIGEST}": "blob",
    f"blobs/{DIGEST}0": None,
    "blobs/../x": None,
    "retired/-a.json": "copy",
    "retired/0a1b.json": "copy",
    "retired/notes.txt": None,
    "retired/a.b.json": None,
    "retired/": None,
    "parts/1/rank_tp0.json": "part",
    "parts/1/.x": None,
    "parts/x/a.json": None,
    "notes.txt": None,
}
KEYS = {
    "_resolved/a.json": True,
    "_reports/2026-01-01/a.json": True,
    "_groups/a-1/roll.json": True,
    ".probe/x": True,
    # somebody's own objects, named as our folders are
    "_resolved": False,
    "_reports": False,
    "_groups": False,
    ".probe": False,
    "x/_resolved/a": False,
}


@pytest.mark.parametrize("name", NAMES)
def test_names_below_an_address(name):
    assert kind_of(name) == NAMES[name]


@pytest.mark.parametrize("key", KEYS)
def test_keys_beside_the_addresses(key):
    assert (folder_of(key) is not None) is KEYS[key]


@pytest.mark.parametrize("key", [*(f"{PLACE}/{name}" for name in NAMES), *KEYS])
def test_ls_and_gc_take_the_same_objects_for_foreign(key):
    """a `retired/notes.txt` was ours to one and foreign to the other, `retired/-a.json` the reverse"""
    entry = Entry(key, 1, None)

    assert take_inventory([entry]).foreign.objects == sort_out([entry])[2]
