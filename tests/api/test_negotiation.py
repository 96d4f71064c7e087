"""Which media type an answer has."""

import pytest

from dipeo_server.api.negotiation import GRAPHQL_JSON, JSON, answer_type, is_json


@pytest.mark.parametrize(
    "accept, chosen",
    [
        (None, JSON),
        ("", JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        ("application/json", JSON),
        (GRAPHQL_JSON, GRAPHQL_JSON),
        (f"{GRAPHQL_JSON}, {JSON}", GRAPHQL_JSON),
        (f"{JSON}, {GRAPHQL_JSON}", JSON),
        (f"{JSON};q=0.9, {GRAPHQL_JSON}", GRAPHQL_JSON),
        (f"{GRAPHQL_JSON}; charset=utf-8, {JSON}; charset=utf-8", GRAPHQL_JSON),
        ("text/html, */*;q=0.1", JSON),
        ("APPLICATION/JSON", JSON),
        ("text/html", None),
        (f"{JSON};q=0", None),
        (f"{JSON};q=much", None),
        (f"{JSON};charset=latin-1", None),
    ],
)
def test_the_accept_header_chooses(accept: str | None, chosen: str | None) -> None:
    assert answer_type(accept) == chosen


@pytest.mark.parametrize(
    "headers, is_fine",
    [
        ({"content-type": "application/json"}, True),
        ({"content-type": 'Application/JSON; charset="UTF-8"'}, True),
        ({"content-type": "application/json; charset=latin-1"}, False),
        ({"content-type": "application/json", "content-encoding": "gzip"}, False),
        ({"content-type": "text/plain"}, False),
        ({"content-type": "application/x-www-form-urlencoded"}, False),
        ({"content-type": "multipart/form-data; boundary=x"}, False),
        ({}, False),
    ],
)
def test_a_request_must_be_plain_json(headers: dict[str, str], is_fine: bool) -> None:
    assert is_json(headers) is is_fine
