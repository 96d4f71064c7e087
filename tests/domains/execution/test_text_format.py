"""What a text_format means: pydantic models read without running them, or a JSON schema."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dipeo_server.domains.execution.person.python_types import TextFormatError
from dipeo_server.domains.execution.person.text_format import (
    read_structured,
    schema_of_text_format,
)
from dipeo_server.errors import ModelError

HEAD = "from typing import *\nfrom enum import *\nfrom pydantic import *\n"


INT = {"type": "integer"}


def field(annotation: str, before: str = "") -> dict[str, Any]:
    """The schema of a field with that annotation (and default)."""
    source = f"{HEAD}{before}\nclass Response(BaseModel):\n    value: {annotation}\n"
    schema: dict[str, Any] = schema_of_text_format(source)["properties"]["value"]
    return schema


@pytest.mark.parametrize(
    "annotation, schema",
    [
        ("str", {"type": "string"}),
        ("int", {"type": "integer"}),
        ("float", {"type": "number"}),
        ("bool", {"type": "boolean"}),
        ("None", {"type": "null"}),
        ("Any", {}),
        ("list", {"type": "array"}),
        ("datetime.date", {"type": "string", "format": "date"}),
        ("list[int]", {"type": "array", "items": {"type": "integer"}}),
        ("typing.List['str']", {"type": "array", "items": {"type": "string"}}),
        ("set[str]", {"type": "array", "uniqueItems": True, "items": {"type": "string"}}),
        ("dict[str, int]", {"type": "object", "additionalProperties": {"type": "integer"}}),
        ("Optional[int]", {"anyOf": [{"type": "integer"}, {"type": "null"}]}),
        ("int | None", {"anyOf": [{"type": "integer"}, {"type": "null"}]}),
        ("Optional[int | None]", {"anyOf": [{"type": "integer"}, {"type": "null"}]}),
        ("Union[int, str]", {"anyOf": [{"type": "integer"}, {"type": "string"}]}),
        ("Literal['a', 2, None, -1]", {"enum": ["a", 2, None, -1]}),
        ("tuple[int, ...]", {"type": "array", "items": {"type": "integer"}}),
        (
            "tuple[int, str]",
            {
                "type": "array",
                "prefixItems": [{"type": "integer"}, {"type": "string"}],
                "minItems": 2,
                "maxItems": 2,
            },
        ),
        ("Annotated[int, Field(ge=1, le=5)]", {"type": "integer", "minimum": 1, "maximum": 5}),
        ("conint(gt=0)", {"type": "integer", "exclusiveMinimum": 0}),
        ("conlist(int, min_length=2)", {"type": "array", "items": INT, "minItems": 2}),
        ("int = 3", {"type": "integer", "default": 3}),
        ("int = Field(3, description='How many')", INT | {"default": 3, "description": "How many"}),
        ("str = Field(min_length=1)", {"type": "string", "minLength": 1}),
        (r"str = Field(pattern='^\d$')", {"type": "string", "pattern": r"^\d$"}),
        (
            "list[int] = Field(min_items=2, max_length=3)",
            {"type": "array", "items": INT, "minItems": 2, "maxItems": 3},
        ),
        (
            "int | None = Field(default=None, ge=1)",
            {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}], "default": None},
        ),
        ("str = compute()", {"type": "string"}),
    ],
)  # fmt: skip
def test_an_annotation_becomes_a_schema(annotation: str, schema: dict[str, Any]) -> None:
    assert field(annotation, before="import typing, datetime") == schema


def test_enums_become_their_values() -> None:
    enums = (
        "class Color(str, Enum):\n    RED = 'red'\n    BLUE = 'blue'\n"
        "class Size(Enum):\n    S = auto()\n    L = auto()\n"
        "class Tone(StrEnum):\n    HIGH = auto()\n"
    )
    assert field("Color = Color.BLUE", enums) == {
        "enum": ["red", "blue"],
        "type": "string",
        "default": "blue",
    }
    assert field("Size", enums) == {"enum": [1, 2], "type": "integer"}
    assert field("Tone", enums) == {"enum": ["high"], "type": "string"}
    assert field("Literal[Color.RED]", enums) == {"enum": ["red"]}


def test_nested_models_become_definitions_with_their_docstrings() -> None:
    schema = schema_of_text_format(
        '''
class Person(BaseModel):
    """Somebody."""
    model_config = ConfigDict(extra="forbid")
    name: str
    age: Optional[int] = None

class Response(BaseModel):
    people: List[Person]
'''
    )
    assert schema["required"] == ["people"]
    assert schema["properties"]["people"]["items"] == {"$ref": "#/$defs/Person"}
    assert schema["$defs"]["Person"] == {
        "title": "Person",
        "description": "Somebody.",
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "age": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None},
        },
        "required": ["name"],
        "additionalProperties": False,
    }


def test_a_model_that_holds_itself_is_a_definition_too() -> None:
    schema = schema_of_text_format(
        "class Tree(BaseModel):\n    children: list['Tree'] = []\nTree.model_rebuild()\n"
    )
    assert schema["$ref"] == "#/$defs/Tree"
    jsonschema.validate({"children": [{"children": []}]}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"children": [{"children": 1}]}, schema)


@pytest.mark.parametrize(
    "source, title",
    [
        ("class A(BaseModel):\n  x: int\nclass B(BaseModel):\n  a: A\n", "B"),
        ("class B(BaseModel):\n  a: 'A'\nclass A(BaseModel):\n  x: int\n", "B"),
        ("class A(BaseModel):\n  x: int\nclass B(BaseModel):\n  x: int\n", "B"),
        ("class Response(BaseModel):\n  x: int\nclass B(BaseModel):\n  x: int\n", "Response"),
        ("class A(BaseModel):\n  x: int\nAs = list[A]\nclass B(BaseModel):\n  a: As\n", "B"),
        ("class A(BaseModel):\n  b: 'B'\nclass B(BaseModel):\n  a: 'list[A]'\n", "B"),
        ("class A(BaseModel):\n  x: int\nclass B(A):\n  y: int\n", "B"),
        ("class A(BaseModel):\n  x: int\nclass E(Enum):\n  a = 1\nif True:\n  pass\n", "A"),
    ],
)
def test_the_root_is_the_last_model_that_no_other_uses(source: str, title: str) -> None:
    schema = schema_of_text_format(source)
    assert title in (schema.get("title"), schema.get("$ref", "").rpartition("/")[2])


def test_fields_are_inherited_and_can_be_overridden() -> None:
    schema = schema_of_text_format(
        "class A(BaseModel):\n  x: int\n  y: str\nclass Response(A):\n  y: int = 1\n  z: bool\n"
    )
    assert list(schema["properties"]) == ["x", "y", "z"]
    assert schema["required"] == ["x", "z"]


def test_aliases_name_the_property_and_private_things_are_left_out() -> None:
    schema = schema_of_text_format(
        "class Response(BaseModel):\n"
        "  from_node: str = Field(alias='from')\n"
        "  _hidden: int = 1\n"
        "  limit: ClassVar[int] = 3\n"
        "  ids: list[str] = Field(default_factory=list)\n"
        "  @field_validator('ids')\n"
        "  def check(cls, value): return value\n"
    )
    assert list(schema["properties"]) == ["from", "ids"]
    assert schema["required"] == ["from"]


def test_a_root_model_is_what_it_holds() -> None:
    schema = schema_of_text_format(
        "class Item(BaseModel):\n  x: int\nclass Items(RootModel[list[Item]]):\n  pass\n"
    )
    assert (schema["type"], schema["items"]) == ("array", {"$ref": "#/$defs/Item"})


@pytest.mark.parametrize(
    "config",
    ["model_config = {'extra': 'forbid'}", "class Config:\n    extra = 'forbid'"],
)
def test_a_model_may_close_itself_in_each_way(config: str) -> None:
    schema = schema_of_text_format(f"class Response(BaseModel):\n  {config}\n  x: int\n")
    assert schema["additionalProperties"] is False
    assert list(schema["properties"]) == ["x"]


def test_dataclasses_typed_dicts_and_inner_classes_are_models_too() -> None:
    schema = schema_of_text_format(
        "@dataclass(frozen=True)\nclass Point:\n  x: int\n"
        "class Row(TypedDict):\n  name: str\n"
        "class Names(RootModel):\n  root: list[str]\n"
        "Rows: TypeAlias = list[Row]\n"
        "class Response(BaseModel):\n"
        "  class Kind(Enum):\n    A = 'a'\n    B = 2\n"
        "  at: Point\n  rows: Rows\n  names: Names\n  kind: Kind\n"
    )
    assert schema["$defs"]["Point"]["properties"] == {"x": INT}
    assert schema["$defs"]["Row"]["required"] == ["name"]
    assert schema["$defs"]["Names"]["items"] == {"type": "string"}
    assert schema["properties"]["kind"] == {"enum": ["a", 2]}


def test_what_only_running_could_tell_accepts_anything() -> None:
    schema = schema_of_text_format(
        "from elsewhere import Kind, Base\n"
        "def make_model(base): ...\n"
        "Made = make_model(Base)\n"
        "class Response(BaseModel):\n  kind: Kind\n  kinds: list[Kind[int]]\n  made: Made\n"
    )
    assert schema["properties"] == {"kind": {}, "kinds": {"type": "array", "items": {}}, "made": {}}


def test_nothing_of_the_source_is_run() -> None:
    source = "raise SystemExit\nclass Response(BaseModel):\n  x: int = print('hello')\n1 / 0\n"
    assert schema_of_text_format(source)["properties"] == {"x": {"type": "integer"}}


@pytest.mark.parametrize(
    "source, said",
    [
        ("class Response(BaseModel):\n  x: strr\n", "line 2: the type 'strr' is not defined"),
        ("class Response(BaseModel)\n  x: str\n", "line 1"),
        ("x = 1\n", "no class derived from BaseModel"),
        ("just some words", "line 1"),
        ("class P:\n  x: int\nclass Response(BaseModel):\n  p: P\n", "line 4: 'P' is neither"),
        ("class Response(BaseModel):\n  x: 3 + 4\n", "line 2: 3 + 4 cannot be read as a type"),
        ("class Response(BaseModel):\n  x: foo[int]\n", "line 2: foo[…] cannot be read"),
        ("class Response(BaseModel):\n  x: 'a b'\n", "line 2: 'a b' cannot be read"),
        ("A = list['A']\nclass Response(BaseModel):\n  x: A\n", "'A' is defined by itself"),
        ("class E(Enum):\n  pass\nclass Response(BaseModel):\n  x: E\n", "has no members"),
        (
            "class E(Enum):\n  a = 1\nclass Response(BaseModel):\n  x: Literal[E.b]\n",
            "line 4: the enum 'E' has no member 'b'",
        ),
        ("class Response(BaseModel):\n  x: str = Field(pattern='(')\n", "no JSON schema"),
        ("class Response(BaseModel):\n  x: Literal[E.b]\n", "line 2: there is no enum 'E'"),
        ("class Response(BaseModel):\n  x: Literal[f()]\n", "line 2: f() is no literal value"),
        ("class Response(BaseModel):\n  x: Literal[1][2]\n", "line 2"),
        (
            "from a import E\nclass Response(BaseModel):\n  x: Literal[E.b]\n",
            "line 3: E.b is defined elsewhere",
        ),
        (
            "class E(Enum):\n  a = f()\nclass Response(BaseModel):\n  x: E\n",
            "line 2: the value of E.a is no constant",
        ),
        ("\0", "line 1"),
        ("x: " + "list[" * 500 + "int" + "]" * 500, "line 1"),
        ("-" * 100_000 + "1", "text_format"),
        ("class Response(BaseModel):\n  x: " + "A | " * 5_000 + "A\n", "text_format"),
        ("#" * 200_001, "more than 200000 characters"),
        ('{"type": "nonsense"}', "at type"),
        ('{"type": }', "line 1"),
        ('{"not": ' * 20_000 + "{}" + "}" * 20_000, "nested too deeply"),
        ('{"not": ' * 500 + "{}" + "}" * 500, "nested too deeply"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_and_says_where(source: str, said: str) -> None:
    with pytest.raises(TextFormatError) as caught:
        schema_of_text_format(source)
    assert said in caught.value.message
    assert caught.value.code == "INVALID_TEXT_FORMAT"
    assert not caught.value.retryable


def test_aliases_that_multiply_are_stopped() -> None:
    lines = ["A0 = int"]
    lines += [f"A{n} = tuple[A{n - 1}, A{n - 1}]" for n in range(1, 40)]
    source = "\n".join([*lines, "class Response(BaseModel):", "  x: A39"])
    with pytest.raises(TextFormatError, match="too large"):
        schema_of_text_format(source)


def test_classes_that_inherit_in_circles_are_no_trap() -> None:
    with pytest.raises(TextFormatError):
        schema_of_text_format("class A(B):\n  x: int\nclass B(A):\n  y: int\n")


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    source = f"class Response(BaseModel):\n  x: {text}\n"
    for candidate in (text, source):
        with suppress(TextFormatError):
            assert isinstance(schema_of_text_format(candidate), dict)


def test_a_json_schema_is_taken_as_it_is() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    assert schema_of_text_format(schema) == schema
    assert schema_of_text_format(json.dumps(schema)) == schema


ANSWER = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


@pytest.mark.parametrize(
    "text", ['{"n": 1}', ' {"n": 1}\n', '```json\n{"n": 1}\n```', '```\n{"n": 1}\n```\n']
)
def test_an_answer_is_read_with_or_without_a_fence(text: str) -> None:
    assert read_structured(text, ANSWER) == {"n": 1}


@pytest.mark.parametrize(
    "text, said",
    [
        ("no json", "asked for JSON"),
        ("", "asked for JSON"),
        ('{"n": "one"}', "at n: 'one' is not of type 'integer'"),
        ("{}", "at its root: 'n' is a required property"),
        ("[" * 100_000, "asked for JSON"),
    ],
)
def test_an_answer_that_does_not_fit_may_be_asked_for_again(text: str, said: str) -> None:
    with pytest.raises(ModelError) as caught:
        read_structured(text, ANSWER)
    assert said in caught.value.message
    assert caught.value.retryable
    assert len(caught.value.message) < 1000


@pytest.mark.parametrize("reference", ["http://127.0.0.1:9/schema.json", "#/$defs/absent", "#"])
def test_a_reference_to_somewhere_else_is_never_followed(reference: str) -> None:
    with pytest.raises(TextFormatError):
        read_structured("{}", {"$ref": reference})
