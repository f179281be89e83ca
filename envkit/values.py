"""Classes of values: what `dataclasses` and `enum` give, at a twentieth of their price.

A command that finds nothing to do ends before `dataclasses` and `enum` (with inspect, ast, re, functools) would have
been imported, and each class of theirs costs up to two milliseconds more. Here a class costs some thirty microseconds.
Type checkers see PEP 681 `dataclass_transform`, and the standard library's own enums. Imports nothing.

Differences from dataclasses: every class has slots, so no `super()` without arguments in its methods; equality and hash
are those of the tuple of fields (`field(compare=False)` leaves one out); a frozen value raises AttributeError.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from enum import Enum, StrEnum
    from typing import Any, TypeVar, dataclass_transform

    T = TypeVar("T")
else:

    def dataclass_transform(**_):
        return lambda function: function


_REQUIRED: Any = object()


class Field:
    """A default of one field: a value or a factory."""

    __slots__ = ("compare", "factory", "value")

    def __init__(self, value: Any, factory: Callable[[], Any] | None, compare: bool) -> None:
        self.value = value
        self.factory = factory
        self.compare = compare


def field(*, default: Any = _REQUIRED, default_factory: Callable[[], Any] | None = None, compare: bool = True) -> Any:
    """A field's default. default_factory is called for every new value that is not given one."""
    return Field(default, default_factory, compare)


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value(cls: type[T]) -> type[T]:
    """Make an immutable, hashable value of a class's annotations and defaults."""
    made: type[T] = _make(cls)
    made.__setattr__ = _refuse_set  # type: ignore[method-assign]
    made.__delattr__ = _refuse_delete  # type: ignore[method-assign]
    if "__hash__" not in cls.__dict__:
        made.__hash__ = _hash  # type: ignore[method-assign]
    return made


@dataclass_transform(field_specifiers=(field,))
def struct(cls: type[T]) -> type[T]:
    """Make a class with slots, whose fields may be assigned, of a class's annotations and defaults. Not hashable."""
    made: type[T] = _make(cls)
    if "__hash__" not in cls.__dict__:
        made.__hash__ = None  # type: ignore[assignment]
    return made


def _make(cls: Any) -> Any:
    names: list[str] = []
    defaults: list[Field | None] = []
    for base in reversed(cls.__mro__[1:]):
        for name, default in base.__dict__.get("__fields__", ()):
            names.append(name)
            defaults.append(default)
    namespace = dict(cls.__dict__)
    own = [name for name, kind in namespace.get("__annotations__", {}).items() if not str(kind).startswith("ClassVar")]
    for name in own:
        default = namespace.pop(name, _REQUIRED)
        if default is _REQUIRED:
            entry = None
        else:
            entry = default if isinstance(default, Field) else Field(default, None, True)
            if entry.value is _REQUIRED and entry.factory is None:
                entry = None if entry.compare else entry
        names.append(name)
        defaults.append(entry)
    for name in ("__dict__", "__weakref__"):
        namespace.pop(name, None)
    rows = tuple(zip(names, defaults, strict=True))
    namespace["__slots__"] = tuple(own)
    namespace["__fields__"] = rows
    namespace["__match_args__"] = tuple(names)
    made = type(cls)(cls.__name__, cls.__bases__, namespace)
    made.__qualname__ = cls.__qualname__
    setters = tuple(getattr(made, name).__set__ for name in names)
    given = tuple(
        (name, entry is not None and (entry.factory is not None or entry.value is not _REQUIRED),
         entry.value if entry else None, entry.factory if entry else None)
        for name, entry in rows
    )  # fmt: skip
    compared = tuple(name for name, entry in rows if entry is None or entry.compare)
    for name, function in (
        ("__init__", _initializer(cls.__name__, setters, given, namespace.get("__post_init__"))),
        ("__eq__", _equality(compared)), ("__repr__", _repr), ("__reduce__", _reduce),
    ):  # fmt: skip
        if name not in namespace:
            setattr(made, name, function)
    made.__compared__ = compared
    return made


def _initializer(
    title: str, setters: tuple[Any, ...], given: tuple[tuple[str, bool, Any, Any], ...], after: Any
) -> Callable[..., None]:
    count = len(setters)

    def __init__(self: Any, *values: Any, **named: Any) -> None:
        number = len(values)
        if number > count:
            raise TypeError(f"{title} takes {count} values, {number} were given")
        for assign, item in zip(setters, values):  # noqa: B905 the rest follows
            assign(self, item)
        while number < count:
            name, optional, default, factory = given[number]
            if name in named:
                setters[number](self, named.pop(name))
            elif not optional:
                raise TypeError(f"{title} lacks a value for {name!r}")
            else:
                setters[number](self, factory() if factory else default)
            number += 1
        if named:
            raise TypeError(f"{title} cannot be given {', '.join(map(repr, named))} (again)")
        if after:
            after(self)

    return __init__


def _equality(compared: tuple[str, ...]) -> Callable[[Any, object], bool]:
    def __eq__(self: Any, other: object) -> bool:
        if self is other:
            return True
        if other.__class__ is not self.__class__:
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in compared)

    return __eq__


def _hash(self: Any) -> int:
    return hash(tuple([getattr(self, name) for name in self.__compared__]))


def _repr(self: Any) -> str:
    return f"{type(self).__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in field_names(self))})"


def _reduce(self: Any) -> Any:
    return type(self), tuple(getattr(self, name) for name in field_names(self))


def _refuse_set(self: Any, name: str, item: Any) -> None:
    raise AttributeError(f"cannot assign to {name!r} of {type(self).__name__}: it is a value")


def _refuse_delete(self: Any, name: str) -> None:
    raise AttributeError(f"cannot delete {name!r} of {type(self).__name__}: it is a value")


def field_names(of: Any) -> tuple[str, ...]:
    """The fields of a value, or of its class, in order."""
    names: tuple[str, ...] = of.__match_args__
    return names


def replace(of: T, /, **changes: Any) -> T:
    """A copy with other values in some fields. Raises TypeError for a field that there is not."""
    return type(of)(**{**{name: getattr(of, name) for name in field_names(of)}, **changes})


def as_dict(of: Any) -> Any:
    """A value, and every value in its fields, lists, tuples and mappings, as dictionaries."""
    if hasattr(type(of), "__fields__"):
        return {name: as_dict(getattr(of, name)) for name in field_names(of)}
    if isinstance(of, dict):
        return {key: as_dict(item) for key, item in of.items()}
    if isinstance(of, (list, tuple)):
        return [as_dict(item) for item in of]
    return of


if not TYPE_CHECKING:

    class _Members(type):
        """The class of enums: its public attributes become its only instances."""

        def __new__(mcs, name, bases, namespace):
            values = {
                key: item for key, item in namespace.items()
                if key[0] != "_" and not callable(item) and not isinstance(item, (property, classmethod, staticmethod))
            }  # fmt: skip
            made = super().__new__(mcs, name, bases, {key: namespace[key] for key in namespace if key not in values})
            made.__members__ = {}
            made._by_value = {}
            for key, item in values.items():
                member = made._member(item)
                type.__setattr__(member, "name", key) if isinstance(member, type) else setattr(member, "name", key)
                member.value = item
                made.__members__[key] = made._by_value[item] = member
                setattr(made, key, member)
            return made

        def __call__(cls, wanted):
            if wanted.__class__ is cls:
                return wanted
            try:
                return cls._by_value[wanted]
            except (KeyError, TypeError):
                raise ValueError(f"{wanted!r} is not a valid {cls.__name__}") from None

        def __iter__(cls) -> Iterator[Any]:
            return iter(cls.__members__.values())

        def __len__(cls) -> int:
            return len(cls.__members__)

        def __contains__(cls, item) -> bool:
            return item.__class__ is cls or item in cls._by_value

        def __getitem__(cls, name):
            return cls.__members__[name]

    class Enum(metaclass=_Members):
        """A closed set of named objects. Members are compared by identity."""

        @classmethod
        def _member(cls, item):
            return object.__new__(cls)

        def __repr__(self) -> str:
            return f"<{type(self).__name__}.{self.name}: {self.value!r}>"

        def __str__(self) -> str:
            return f"{type(self).__name__}.{self.name}"

        def __reduce__(self):
            return type(self), (self.value,)

        def __copy__(self):
            return self

        def __deepcopy__(self, memo):
            return self

    class StrEnum(str, Enum):
        """A closed set of texts: every member is its text."""

        @classmethod
        def _member(cls, item):
            return str.__new__(cls, item)

        __str__ = str.__str__
        __format__ = str.__format__
        __hash__ = str.__hash__


__all__ = (
    "Enum", "Field", "StrEnum", "as_dict", "field", "field_names", "replace", "struct", "value",
)  # fmt: skip
