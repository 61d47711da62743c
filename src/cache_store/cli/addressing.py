"""What a person types for a bundle -> its address."""

from __future__ import annotations

from cache_store.cli.session import Problem, problem_of
from cache_store.cli.survey import list_inventory
from cache_store.errors import ErrorKind, StoreError
from cache_store.exit_codes import ExitCode
from cache_store.identity import Address, BadAddress
from cache_store.inventory import Inventory, is_key_prefix, with_key_prefix
from cache_store.objects import ObjectStore

SHOWN = 10
NEEDS_LIST = (
    "a part of a key needs the right to list (s3:ListBucket on the bucket); a full address does without"
)


def resolve(store: ObjectStore, text: str) -> Address:
    """The address that `text` is, or the one whose key begins with it, which takes one LIST.

    Raises `Problem`: usage (neither, or several fit), not-found, denied; and `StoreError`.
    """
    if not is_key_prefix(text):
        return parse(text)
    try:
        return choose(list_inventory(store, ""), text)
    except StoreError as error:
        if error.kind is ErrorKind.DENIED:
            raise problem_of(error, NEEDS_LIST) from error
        raise


def parse(text: str) -> Address:
    """A full address. Raises `Problem`."""
    try:
        return Address.parse(text)
    except BadAddress as problem:
        raise Problem(
            "usage", f"{problem}; give a full address or the beginning of a key", ExitCode.USAGE
        ) from None


def choose(inventory: Inventory, prefix: str) -> Address:
    """The one address whose key begins with `prefix`. Raises `Problem`."""
    found = with_key_prefix(inventory, prefix)
    if len(found) == 1:
        return found[0]
    if not found:
        raise Problem("not-found", f"no bundle's key begins with {prefix}", ExitCode.NOT_FOUND)
    shown = ", ".join(map(str, found[:SHOWN]))
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    raise Problem("ambiguous", f"{prefix} fits {len(found)} bundles: {shown}{more}", ExitCode.USAGE)
