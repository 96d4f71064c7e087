"""Secrets written in a diagram."""

from dataclasses import replace
from typing import Any

import pytest

from dipeo_server.domains.diagram.model import DomainPerson
from dipeo_server.domains.diagram.rules.secrets import is_secret_name
from dipeo_server.domains.diagram.validate import validate


@pytest.mark.parametrize(
    "name",
    [
        *("password", "sudo_password", "passwordConfirm", "token", "authToken", "access_token"),
        *("api_key", "apiKey", "APIKey", "X-Api-Key", "apikey", "client_secret", "private_key"),
        *("key_value", "TOKEN"),
    ],
)
def test_such_fields_hold_secrets(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name",
    [
        *("api_key_id", "max_tokens", "token_limit", "tokenizer", "key", "key_name", "keys"),
        *("password_file", "token_url", "passport", "text", "", "1", "api", "secret_ref"),
        "password_prompt",
    ],
)
def test_such_fields_do_not(name: str) -> None:
    assert not is_secret_name(name)


def test_a_secret_is_an_error_that_names_the_field_and_not_the_value(judge: Any) -> None:
    props = {"auth_config": {"list": [{"token": "hunter2"}]}, "sudo_password": "hunter2"}
    problems = judge("s>a a>e", "SECRET_LITERAL", a=props)
    assert all(problem.is_error and problem.node == "a" for problem in problems)
    text = " ".join(problem.message for problem in problems)
    assert "`auth_config.list.0.token`" in text
    assert "`sudo_password`" in text
    assert "hunter2" not in text


@pytest.mark.parametrize(
    "props",
    [
        {"token": "{{api_token}}"},
        {"token": "Bearer {{api_token}}"},
        {"password": "secret://db"},
        {"password": "${DB_PASSWORD}"},
        {"password": ""},
        {"password": None},
        {"token": 5},
        {"password": {"type": "string"}},
        {"input_mapping": {"password": "parent_password"}},
        {"api_key_id": "APIKEY_1"},
    ],
)
def test_references_and_descriptions_are_no_secrets(judge: Any, props: dict[str, Any]) -> None:
    assert judge("s>a a>e", "SECRET_LITERAL", a=props) == []


def test_a_person_holds_no_secret_either(judge: Any) -> None:
    diagram = judge.diagram("s>e")
    person = DomainPerson("Ann", "Ann", extra={"api_key": "sk-1"})
    problems = validate(replace(diagram, persons=(person,)), judge.specs)
    assert [(p.code, p.is_error) for p in problems] == [("SECRET_LITERAL", True)]
    assert "sk-1" not in problems[0].message
