"""The stand-ins for typing's names: enough for class statements and aliases, and the names are typing's."""

import typing

from cache_store import annotation


def test_every_name_is_one_of_typings():
    assert [name for name in annotation.__all__ if not hasattr(typing, name)] == []
    assert annotation.TYPE_CHECKING is typing.TYPE_CHECKING


def test_they_stand_where_a_class_statement_or_an_alias_has_them():
    one = annotation.TypeVar("one", bound=int)

    class Shape(annotation.Protocol[one]):
        def area(self): ...

    class Holder(annotation.Generic[one]):
        def __init__(self, value):
            self.value = value

    class Narrow(Holder[int]):
        pass

    alias = annotation.Literal["a", "b"] | None
    assert isinstance(None, alias)
    assert Narrow(3).value == 3
    assert issubclass(Shape, annotation.Protocol)


def test_a_cast_is_the_value():
    assert annotation.cast("int", "x") == "x"
