"""`@dataclass` as the standard library's, for programs whose start others wait for.

The standard one composes source text for each class and compiles it: 0.55 ms a class, with 120 classes 67 of the 147 ms
of a hit, and another 5 ms for importing `inspect` (Python 3.11, docs/evidence/hit-path.json). This one installs closures.
attrs compiles too, a msgspec.Struct costs 60 ms at import, and a NamedTuple equals any other tuple of the same values.

Type checkers see the standard one. tests/unit/test_dataclass.py makes every class of the product both ways and compares
them. What is not there (InitVar, ClassVar, slots, `init=False`, ...) is refused when the class is made.
"""

from __future__ import annotations

from cache_store.annotation import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass, field, replace
else:
    from operator import attrgetter
    from reprlib import recursive_repr

    _MISSING = object()
    _RECORD = "__record__"

    class _Field:
        """One field. `default` or `factory` is _MISSING, or both are."""

        __slots__ = ("compare", "default", "factory")

        def __init__(self, default, factory, compare):
            self.default, self.factory, self.compare = default, factory, compare

    class _Record:
        """What is known of a class: its fields by name, in order, and what making an instance needs of them."""

        __slots__ = (
            "factories", "fields", "key", "known", "kw_only", "names", "positional", "required", "start",
        )  # fmt: skip

        def __init__(self, fields, kw_only):
            self.fields, self.kw_only = fields, kw_only
            self.names = tuple(fields)
            self.positional = () if kw_only else self.names
            self.known = fields.keys()
            self.start = dict.fromkeys(self.names)  # what an instance has before its own values
            self.factories, optional, left_out = [], [], []
            for name, one in fields.items():
                if one is _REQUIRED:
                    continue
                if one.default is not _MISSING:
                    self.start[name] = one.default
                    optional.append(name)
                elif one.factory is not _MISSING:
                    self.start[name] = _MISSING
                    self.factories.append((name, one.factory))
                    optional.append(name)
                if not one.compare:
                    left_out.append(name)
            self.required = self.known - optional
            self.key = _key_of([name for name in self.names if name not in left_out])

    class _StandardFields:
        """`__dataclass_fields__`, for whoever asks by the standard library's functions; made when it is asked for."""

        def __get__(self, instance, owner):
            import dataclasses

            record = owner.__dict__.get("__record__") or _record_of(owner)
            twins = {}
            for name, one in record.fields.items():
                given = {"compare": one.compare, "kw_only": record.kw_only}
                if one.default is not _MISSING:
                    given["default"] = one.default
                if one.factory is not _MISSING:
                    given["default_factory"] = one.factory
                twin = dataclasses.field(**given)
                twin.name, twin.type = name, _annotations_of(owner).get(name)
                twin._field_type = dataclasses._FIELD  # noqa: SLF001 -- what `dataclasses.fields` looks for
                twins[name] = twin
            return twins

    _REQUIRED = _Field(_MISSING, _MISSING, compare=True)
    _STANDARD_FIELDS = _StandardFields()

    def field(*, default=_MISSING, default_factory=_MISSING, compare=True):
        return _Field(default, default_factory, compare)

    def dataclass(cls=None, /, *, frozen=False, order=False, kw_only=False):
        def made(of):
            return _made(of, frozen, order, kw_only)

        return made if cls is None else made(cls)

    def replace(record, /, **changes):
        values = {name: getattr(record, name) for name in _record_of(type(record)).fields}
        return type(record)(**{**values, **changes})

    def _record_of(cls):
        return getattr(cls, _RECORD)

    def _annotations_of(cls):
        found = {}
        for base in reversed(cls.__mro__[:-1]):
            found.update(base.__dict__.get("__annotations__", {}))
        return found

    def _made(cls, frozen, order, kw_only):
        own = cls.__dict__
        inherited = getattr(cls, _RECORD, None)
        fields = dict(inherited.fields) if inherited else {}
        for name, annotation in own.get("__annotations__", {}).items():
            if str(annotation).startswith(("ClassVar", "InitVar", "KW_ONLY", "typing.ClassVar")):
                raise TypeError(f"{cls.__name__}.{name}: {annotation} is not supported here")
            fields[name] = _own_field(cls, name) if name in own else _REQUIRED
        record = _Record(fields, kw_only)
        setattr(cls, _RECORD, record)
        cls.__dataclass_fields__ = _STANDARD_FIELDS
        has_hash = "__hash__" in own and not (own["__hash__"] is None and "__eq__" in own)
        if "__init__" not in own:
            cls.__init__ = _init_of(cls, record)
        if "__repr__" not in own:
            cls.__repr__ = _shown
        if "__eq__" not in own:
            cls.__eq__ = _eq_of(record.key)
        if "__match_args__" not in own:
            cls.__match_args__ = record.positional
        if frozen:
            cls.__setattr__ = _refuse_set
            cls.__delattr__ = _refuse_delete
        if not has_hash:
            cls.__hash__ = _hash_of(record.key) if frozen else None
        if order:
            _order(cls, record.key)
        return cls

    def _own_field(cls, name):
        given = cls.__dict__[name]
        is_told = isinstance(given, _Field)
        one = given if is_told else _Field(given, _MISSING, compare=True)
        if one.default is not _MISSING and type(one.default).__hash__ is None:
            raise ValueError(f"mutable default {type(one.default)} for field {name} is not allowed")
        if is_told and one.default is _MISSING:
            delattr(cls, name)
        elif is_told:
            setattr(cls, name, one.default)
        return one

    def _init_of(cls, record):
        positional, start, factories = record.positional, record.start, record.factories
        check_names, refuse = _refusals_of(cls, record)
        has_post_init = hasattr(cls, "__post_init__")
        # so many arguments by place are enough
        least = max(
            (place for place, name in enumerate(record.names, 1) if name in record.required), default=0
        )
        most = len(positional)

        def __init__(self, /, *args, **given):
            values = self.__dict__
            count = len(args)
            if given or not count:
                check_names(count, given)
            elif not least <= count <= most:
                refuse(count, given)
            # all at once, and in the order of the fields: ten thousand bundles are a hundred thousand of these
            values.update(start)
            values.update(zip(positional, args, strict=False))
            values.update(given)
            for name, factory in factories:
                if values[name] is _MISSING:
                    values[name] = factory()
            if has_post_init:
                self.__post_init__()

        return __init__

    def _refusals_of(cls, record):
        positional, known, required = record.positional, record.known, record.required

        def check_names(count, given):
            told = given.keys()
            if count:
                told |= positional[:count]
                if len(told) < count + len(given):  # some are told twice, or there are too many
                    refuse(count, given)
            if not required <= told <= known:
                refuse(count, given)

        def refuse(count, given):
            if count > len(positional):
                raise TypeError(
                    f"{cls.__name__}.__init__() takes {len(positional) + 1} positional arguments "
                    f"but {count + 1} were given"
                )
            told = positional[:count]
            for name in given:
                if name in told:
                    raise TypeError(f"{cls.__name__}.__init__() got multiple values for argument {name!r}")
                if name not in known:
                    raise TypeError(f"{cls.__name__}.__init__() got an unexpected keyword argument {name!r}")
            absent = next(name for name in record.names if name in required.difference(told, given))
            raise TypeError(f"{cls.__name__}.__init__() missing required argument: {absent!r}")

        return check_names, refuse

    def _key_of(names):
        """What is compared and hashed: always a tuple."""
        if len(names) > 1:
            return attrgetter(*names)
        if names:
            only = attrgetter(names[0])
            return lambda record: (only(record),)
        return lambda _: ()

    @recursive_repr()
    def _shown(self):
        names = _record_of(type(self)).names
        inside = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"{type(self).__qualname__}({inside})"

    def _eq_of(key):
        def __eq__(self, other):
            return key(self) == key(other) if other.__class__ is self.__class__ else NotImplemented

        return __eq__

    def _hash_of(key):
        def __hash__(self):
            return hash(key(self))

        return __hash__

    def _order(cls, key):
        def ordered(is_so):
            def compare(self, other):
                return is_so(key(self), key(other)) if other.__class__ is self.__class__ else NotImplemented

            return compare

        cls.__lt__ = ordered(lambda left, right: left < right)
        cls.__le__ = ordered(lambda left, right: left <= right)
        cls.__gt__ = ordered(lambda left, right: left > right)
        cls.__ge__ = ordered(lambda left, right: left >= right)

    def _refuse_set(self, name, value):
        from dataclasses import FrozenInstanceError

        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def _refuse_delete(self, name):
        from dataclasses import FrozenInstanceError

        raise FrozenInstanceError(f"cannot delete field {name!r}")


__all__ = ["dataclass", "field", "replace"]
