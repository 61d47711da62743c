"""Our `@dataclass` is the standard library's: each case holds for both, and the product's classes come out the same."""

import copy
import dataclasses
import json
import pickle
import subprocess
import sys
from collections.abc import Mapping

import pytest
from tests.pods import ROOT

from cache_store import dataclass as ours

BOTH = pytest.mark.parametrize("library", [ours, dataclasses], ids=["ours", "standard"])


def point(library, **how):
    class Point:
        x: int
        y: int = 2
        tags: Mapping[str, str] = library.field(default_factory=dict)
        etag: str = library.field(default="", compare=False)

        @property
        def sum(self):
            return self.x + self.y

    return library.dataclass(**how)(Point)


@BOTH
def test_fields_come_by_place_by_name_and_by_default(library):
    Point = point(library, frozen=True)

    assert Point(1).sum == 3
    assert Point(1, y=5).sum == Point(y=5, x=1).sum == 6
    assert Point(1).tags == {}
    assert Point(1).tags is not Point(1).tags
    assert list(vars(Point(etag="e", x=1))) == ["x", "y", "tags", "etag"]
    assert (Point.y, Point.etag, hasattr(Point, "tags")) == (2, "", False)
    assert Point.__match_args__ == ("x", "y", "tags", "etag")


@BOTH
@pytest.mark.parametrize(
    ("args", "given"),
    [((), {}), ((1, 2, {}, "e", 5), {}), ((1,), {"x": 1}), ((1,), {"z": 1}), ((), {"y": 1})],
    ids=["none", "too many", "twice", "unknown", "one is missing"],
)
def test_wrong_arguments_are_refused(library, args, given):
    with pytest.raises(TypeError, match="__init__"):
        point(library)(*args, **given)


@BOTH
def test_equality_is_of_one_class_and_of_the_compared_fields(library):
    Point, Other = point(library, frozen=True), point(library, frozen=True)

    assert Point(1) == Point(1, etag="else")
    assert Point(1) != Point(2)
    assert Point(1) != Other(1)
    assert Point(1) != (1, 2, {}, "")
    assert Point(1).__eq__(1) is NotImplemented


@BOTH
def test_a_frozen_one_is_hashed_by_what_is_compared_and_cannot_be_changed(library):
    class Pair:
        left: str
        right: str = library.field(default="", compare=False)

    Pair = library.dataclass(frozen=True)(Pair)
    one = Pair("a", "b")

    assert hash(one) == hash(Pair("a", "c")) == hash(("a",))
    for change in (
        lambda: setattr(one, "left", 1),
        lambda: setattr(one, "new", 1),
        lambda: delattr(one, "left"),
    ):
        with pytest.raises(dataclasses.FrozenInstanceError):
            change()
    assert one.left == "a"


@BOTH
def test_a_changeable_one_has_no_hash(library):
    one = point(library)(1)
    one.x = 7

    assert one.sum == 9
    with pytest.raises(TypeError, match="unhashable"):
        hash(one)


@BOTH
def test_order_is_of_the_fields_in_their_order(library):
    class Version:
        major: int
        minor: int = 0

    Version = library.dataclass(frozen=True, order=True)(Version)

    assert sorted([Version(2), Version(1, 5), Version(1)]) == [Version(1), Version(1, 5), Version(2)]
    assert Version(1) <= Version(1) >= Version(1)
    assert Version(2) > Version(1) < Version(3)
    with pytest.raises(TypeError):
        Version(1) < 3  # noqa: B015 -- it raises


@BOTH
def test_by_name_only(library):
    class Named:
        y: int = 2
        x: int  # after a default: names have no order

    Named = library.dataclass(kw_only=True)(Named)

    assert vars(Named(x=1)) == {"y": 2, "x": 1}
    assert Named.__match_args__ == ()
    with pytest.raises(TypeError, match="positional"):
        Named(1)


@BOTH
def test_what_the_class_says_itself_stays(library):
    class Own:
        x: int

        def __repr__(self):
            return "own"

        def __eq__(self, other):
            return True

        def __hash__(self):
            return 7

    Own = library.dataclass(frozen=True)(Own)

    assert (repr(Own(1)), Own(1) == Own(2), hash(Own(1))) == ("own", True, 7)


@BOTH
def test_after_the_fields_are_set_the_class_may_check_them(library):
    class Checked:
        x: int

        def __post_init__(self):
            object.__setattr__(self, "x", self.x + 1)

    assert library.dataclass(frozen=True)(Checked)(1).x == 2


@BOTH
def test_a_heir_has_the_fields_of_both(library):
    class Base:
        x: int
        y: int = 1

    class Heir(library.dataclass(frozen=True)(Base)):
        y: int = 5
        z: int = 3

    Heir = library.dataclass(frozen=True)(Heir)

    assert vars(Heir(1)) == {"x": 1, "y": 5, "z": 3}
    assert [one.name for one in dataclasses.fields(Heir)] == ["x", "y", "z"]


@BOTH
def test_a_plain_heir_is_another_class(library):
    Point = point(library)

    class Heir(Point):
        pass

    assert vars(Heir(1)) == vars(Point(1))
    assert Heir(1) != Point(1)


@BOTH
def test_repr_names_the_fields_and_ends_where_it_comes_back(library):
    Point = point(library)
    one = Point(1)
    one.tags = {"me": one}

    assert repr(one).endswith("Point(x=1, y=2, tags={'me': ...}, etag='')")


@BOTH
def test_one_mutable_default_for_all_is_refused(library):
    class Shared:
        x: list = []  # noqa: RUF012 -- the mistake under test

    with pytest.raises(ValueError, match="mutable default"):
        library.dataclass(Shared)


@BOTH
def test_a_copy_with_changes_is_checked_again(library):
    Point = point(library, frozen=True)

    changed = library.replace(Point(1, etag="e"), y=9)

    assert (changed.x, changed.y, changed.etag) == (1, 9, "e")
    with pytest.raises(TypeError, match="unexpected"):
        library.replace(Point(1), z=1)


@BOTH
def test_the_standard_functions_know_it(library):
    Point = point(library, frozen=True)
    inside = Point(3)

    assert dataclasses.is_dataclass(Point)
    assert dataclasses.is_dataclass(inside)
    assert dataclasses.asdict(Point(1, tags={"a": inside}))["tags"]["a"]["x"] == 3
    assert dataclasses.replace(inside, x=4).x == 4
    assert [one.name for one in dataclasses.fields(inside)] == ["x", "y", "tags", "etag"]
    assert copy.deepcopy(inside) == inside


def test_it_survives_a_pickle():
    from cache_store.identity import Address

    one = Address("0.7.2", "sm90", "0123456789abcdef", "nvidia-h100-0123456789ab")

    assert pickle.loads(pickle.dumps(one)) == one


@pytest.mark.parametrize("annotation", ["ClassVar[int]", "InitVar[int]", "KW_ONLY"])
def test_what_it_does_not_know_is_refused(annotation):
    odd = type("Odd", (), {"__annotations__": {"x": annotation}})

    with pytest.raises(TypeError, match="not supported"):
        ours.dataclass(odd)


TOLD = """
import dataclasses, importlib, json, pkgutil, sys
if sys.argv[1] == "standard":
    sys.modules["cache_store.dataclass"] = dataclasses
told = {}
for package in ("cache_store", "autotune_init"):
    root = importlib.import_module(package)
    for module in pkgutil.walk_packages(root.__path__, package + "."):
        if ".inside" in module.name or module.name.endswith("__main__"):
            continue
        for name, cls in vars(importlib.import_module(module.name)).items():
            if isinstance(cls, type) and dataclasses.is_dataclass(cls) and cls.__module__ == module.name:
                told[f"{module.name}.{name}"] = [
                    [
                        [one.name, "" if one.default is dataclasses.MISSING else getattr(one.default, "__qualname__", repr(one.default)), one.default_factory is not dataclasses.MISSING, one.compare, one.kw_only]
                        for one in dataclasses.fields(cls)
                    ],
                    cls.__match_args__, cls.__hash__ is None, "__lt__" in vars(cls), "__setattr__" in vars(cls),
                    "__eq__" in vars(cls), "__hash__" in vars(cls), "__repr__" in vars(cls),
                ]
print(json.dumps(told))
"""


def test_every_class_of_the_product_is_the_same_by_both():
    ways = [
        json.loads(
            subprocess.run(
                [sys.executable, "-c", TOLD, way], cwd=ROOT, capture_output=True, text=True, check=True
            ).stdout
        )
        for way in ("ours", "standard")
    ]

    assert len(ways[0]) > 200
    assert ways[0] == ways[1]
