"""Types of pydantic 2, as people write them, and what its model_json_schema makes of them.

With pydantic 2.13.4: python3 tests/tools/pydantic-schemas.py > tests/fixtures/schemas/pydantic.json
"""

import datetime
import decimal
import enum
import ipaddress
import json
import pathlib
import re
import uuid
from typing import Annotated, Any, Literal, NamedTuple, Optional, Union

import pydantic
from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints, TypeAdapter


class Color(enum.Enum):
    red = "red"
    blue = "blue"


class Level(enum.IntEnum):
    low = 1
    high = 2


class Closed(BaseModel):
    model_config = ConfigDict(extra="forbid")
    a: bool
    b: Optional[Literal["x"]] = None


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    a: bool


class Typed(BaseModel):
    __pydantic_extra__: dict[str, Annotated[int, Field(ge=0, le=9)]] = Field(init=False)
    model_config = ConfigDict(extra="allow")
    name: Annotated[str, Field(max_length=5)]


class Cat(BaseModel):
    kind: Literal["cat"]
    meows: Annotated[int, Field(ge=0, lt=10)]


class Dog(BaseModel):
    kind: Literal["dog", "puppy"]
    name: Annotated[str, Field(max_length=5)]


class Lizard(BaseModel):
    kind: Literal["lizard"]
    color: Color = Color.red


Pet = Annotated[Union[Cat, Dog], Field(discriminator="kind")]
Animal = Annotated[Union[Pet, Lizard], Field(discriminator="kind")]


class Node(BaseModel):
    value: Annotated[int, Field(ge=0, le=9)]
    children: Annotated[list["Node"], Field(max_length=2)] = []


class Point(NamedTuple):
    x: Annotated[int, Field(ge=0, le=9)]
    y: Annotated[int, Field(ge=0, le=9)]


class Aliased(BaseModel):
    is_active: bool = Field(alias="isActive", description="Whether it is.", examples=[True])
    old: Optional[bool] = Field(None, deprecated=True, json_schema_extra={"x-order": 2})


class Invoice(BaseModel):
    """An invoice, as one asks a model to find it in a text."""

    number: Annotated[str, Field(pattern=r"^INV-\d{4,6}$")]
    issued: datetime.date
    due: Optional[datetime.date] = None
    total: Annotated[decimal.Decimal, Field(ge=0, max_digits=6, decimal_places=2)]
    lines: Annotated[list["Line"], Field(min_length=1, max_length=2)]
    paid: bool = False


class Line(BaseModel):
    text: Annotated[str, Field(min_length=1, max_length=12)]
    quantity: Annotated[int, Field(gt=0, le=99)]
    price: Annotated[float, Field(ge=0, multiple_of=0.01, le=999)]


class Contact(BaseModel):
    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=12)]
    site: Optional[pydantic.HttpUrl] = None
    phones: set[Literal["home", "work", "mobile"]]
    favourite: Color
    id: uuid.UUID


TYPES = {
    "integer": int,
    "float": float,
    "string": Annotated[str, Field(max_length=20)],
    "boolean": bool,
    "bytes": Annotated[bytes, Field(max_length=10)],
    "decimal": decimal.Decimal,
    "decimal with places": Annotated[decimal.Decimal, Field(max_digits=5, decimal_places=2, gt=0)],
    "date": datetime.date,
    "time": datetime.time,
    "date and time": datetime.datetime,
    "aware date and time": pydantic.AwareDatetime,
    "past date": pydantic.PastDate,
    "duration": datetime.timedelta,
    "uuid": uuid.UUID,
    "uuid of version 4": pydantic.UUID4,
    "address of version 4": ipaddress.IPv4Address,
    "address of version 6": ipaddress.IPv6Address,
    "network of version 4": ipaddress.IPv4Network,
    "any address": pydantic.IPvAnyAddress,
    "url": pydantic.AnyUrl,
    "url of the web": pydantic.HttpUrl,
    "secret": Annotated[pydantic.SecretStr, Field(max_length=10)],
    "regular expression": re.Pattern,
    "base64": pydantic.Base64Str,
    "path": Annotated[pathlib.Path, Field(max_length=10)],
    "pattern and length": Annotated[str, Field(pattern=r"^(?:ab|c)+$", min_length=3, max_length=6)],
    "escapes of Python": Annotated[str, Field(pattern=r"\A\d{3}\-\d{4}\!\z")],
    "byte size": pydantic.ByteSize,
    "integers of 64 bits": Annotated[int, Field(ge=-(2**63), le=2**63 - 1)],
    "integers beyond 2^53": Annotated[int, Field(ge=2**60 + 1, le=2**60 + 4)],
    "multiples": Annotated[float, Field(multiple_of=0.5, ge=-5, le=5)],
    "list": Annotated[list[bool], Field(min_length=1, max_length=3)],
    "set of literals": set[Literal["a", "b", "c"]],
    "frozen set of an enum": frozenset[Color],
    "set of booleans": Annotated[set[bool], Field(min_length=1)],
    "tuple": tuple[bool, Annotated[str, Field(max_length=4)]],
    "tuple of any length": tuple[bool, ...],
    "named tuple": Point,
    "dict": dict[str, bool],
    "dict of literals": dict[Literal["a", "b"], bool],
    "dict of an enum": dict[Color, bool],
    "dict by a pattern": dict[Annotated[str, Field(pattern="^x-[a-z]+$")], bool],
    "dict by a length": dict[Annotated[str, Field(min_length=1, max_length=5)], bool],
    "dict by uuid": dict[uuid.UUID, bool],
    "dict of some size": Annotated[dict[str, bool], Field(min_length=1, max_length=3)],
    "dict of literals, not empty": Annotated[dict[Literal["a", "b", "c"], bool], Field(min_length=2)],
    "enum": Color,
    "enum of integers": Level,
    "optional": Optional[Annotated[int, Field(ge=0, le=9)]],
    "union": Union[bool, Annotated[str, Field(max_length=4)], None],
    "literals": Literal[1, "a", None, True],
    "constant": Literal["x"],
    "closed model": Closed,
    "open model": Open,
    "model with typed extras": Typed,
    "discriminated union": Annotated[list[Pet], Field(min_length=1, max_length=2)],
    "discriminated union in another": Animal,
    "recursive model": Node,
    "aliases and annotations": Aliased,
    "JSON value": Annotated[dict[str, JsonValue], Field(max_length=1)],
    "anything": Any,
    "invoice": Invoice,
    "contact": Contact,
}

if __name__ == "__main__":
    cases = [{"name": name, "schema": TypeAdapter(type_).json_schema()} for name, type_ in TYPES.items()]
    print(json.dumps(cases, indent=1))
