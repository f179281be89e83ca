"""The building blocks of the YAML vocabulary: the base class of every section and the types of its values.

The models say what may be written, before and after interpolation (hence the strings beside numbers and booleans);
`schema.py` turns them into the JSON schemas that editors and `config/validate.py` use. No room on the way of a no-op
imports this: pydantic costs 60 ms.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, model_validator
from pydantic_core import CoreSchema, core_schema

NAME_PATTERN = r"^[a-zA-Z0-9._-]+$"


class Keywords:
    """An annotation that adds JSON-schema keywords to a type."""

    def __init__(self, **keywords: Any) -> None:
        self.keywords = keywords

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(core), **self.keywords}


class Distinct(Keywords):
    """An annotation of lists: no entry is written twice."""

    def __init__(self) -> None:
        super().__init__(uniqueItems=True)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(_distinct, handler(source))


class Section(BaseModel):
    """A mapping with known keys. Unknown ones are refused, but for `x-…` where `extensible` allows them, and an
    explicit null is refused unless the key's type is marked nullable (as Compose's schema does)."""

    model_config = ConfigDict(
        extra="allow", strict=True, populate_by_name=False, protected_namespaces=(), regex_engine="python-re"
    )
    extensible: ClassVar[bool] = True
    open: ClassVar[bool] = False  # any other key is accepted too
    conditions: ClassVar[dict[str, Any]] = {}  # further JSON-schema keywords of the whole mapping

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        found = handler(core)
        made = handler.resolve_ref_schema(found)
        made["additionalProperties"] = cls.open
        if cls.extensible:
            made["patternProperties"] = {"^x-": {}}
        made.update(cls.conditions)
        return found

    @model_validator(mode="before")
    @classmethod
    def _keys(cls, value: Any) -> Any:
        if isinstance(value, dict):
            known = {item.alias or name: item for name, item in cls.model_fields.items()}
            for name, item in value.items():
                if name not in known:
                    if not (cls.open or (cls.extensible and str(name).startswith("x-"))):
                        raise ValueError(f"unknown key {name!r}")
                elif item is None and not is_nullable(known[name].json_schema_extra):
                    raise ValueError(f"{name} has no value")
        return value


def is_nullable(extra: Any) -> bool:
    """Whether key(nullable=True) made this json_schema_extra."""
    return isinstance(extra, dict) and bool(extra.get("nullable"))


def key(
    description: str, *examples: Any, default: Any = None, alias: str | None = None, required: bool = False,
    nullable: bool = False, deprecated: bool = False,
) -> Any:  # fmt: skip
    """A key of a section: its description, examples, and the value that counts when it is not written.

    nullable: the key may be written without a value.
    """
    extra: dict[str, Any] = {}
    if default is not None:
        extra["default"] = default
    if nullable:
        extra["nullable"] = True
    if deprecated:
        extra["deprecated"] = True
    return Field(
        ... if required else None, description=description, examples=list(examples) or None, alias=alias,
        json_schema_extra=extra,
    )  # fmt: skip


def _distinct(value: list[Any]) -> list[Any]:
    if any(item in value[:index] for index, item in enumerate(value)):
        raise ValueError("an entry is written twice")
    return value


Name = Annotated[str, Field(pattern=NAME_PATTERN)]
Flag = bool | str
Whole = int | str
Number = float | str
Scalar = str | float | bool | None
Duration = Annotated[str, Keywords(format="duration")]
Size = float | Annotated[str, Keywords(format="bytes")]
SizeText = Annotated[str, Keywords(format="bytes")]
Texts = list[str]
Set = Annotated[list[str], Distinct()]
TextOrSet = str | Set
TextOrTexts = str | Texts
MapOrSet = dict[str, Scalar] | Set
Options = dict[str, str | float]
Command = str | Texts | None
ExtraHosts = dict[str, str | Texts] | Set
AbsolutePath = Annotated[
    str, Field(pattern=r"^[/$]"), Keywords(patternErrorMessage="must be an absolute path, beginning with `/`")
]
Mode = int | Annotated[
    str, Field(pattern=r"^(0?[0-7]{3,4}|.*\$.*)$"),
    Keywords(patternErrorMessage="must be an octal number, like 0644"),
]  # fmt: skip


class FileReference(Section):
    """How a service gets a secret or config."""

    source: str | None = key("The key below `secrets:` or `configs:`.", "db_password")
    target: str | None = key(
        "Where the file lies in the container. A relative name is below `/run/secrets` for a secret and below `/` for "
        "a config.", "/etc/app/app.ini",
    )  # fmt: skip
    uid: str | None = key("The file's owner, a number.", "103")
    gid: str | None = key("The file's group, a number.", "103")
    mode: Number | None = key("The file's permissions, octal.", "0440", default="0444")


FileReferences = list[str | FileReference]


class UlimitRange(Section):
    soft: Whole = key("What the process starts with.", 1024, required=True)
    hard: Whole = key("What the process may raise it to.", 4096, required=True)


Ulimits = dict[str, int | str | UlimitRange]
