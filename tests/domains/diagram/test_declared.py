"""Which field names a props model declares."""

from pydantic import AliasChoices, AliasPath, BaseModel, ConfigDict, Field

from dipeo_server.domains.diagram.declared import declared_fields


class Props(BaseModel):
    model_config = ConfigDict(populate_by_name=True)

    plain: int = 0
    short: int = Field(0, alias="long_name")
    chosen: int = Field(0, validation_alias=AliasChoices("one", AliasPath("two", 0)))


def test_every_name_under_which_a_field_may_be_written_is_declared() -> None:
    assert declared_fields(Props) == {"plain", "short", "long_name", "chosen", "one", "two"}
