"""Which node and handle an endpoint text means."""

import pytest

from dipeo_server.domains.diagram.formats.light_endpoints import Endpoint, Labels

LABELS = Labels(["Load", "Load_Data", "Load Data", "A b c", "A", "X[1]", "ends_with_first", "_"])


@pytest.mark.parametrize(
    "text, endpoint",
    [
        ("Load", Endpoint("Load")),
        (" Load ", Endpoint("Load")),
        ("Load Data", Endpoint("Load Data")),
        ("Load_Data", Endpoint("Load_Data")),
        ("A_b_c", Endpoint("A b c")),
        ("X[1]", Endpoint("X[1]")),
        ("X[1][first]", Endpoint("X[1]", "first", is_strict=True)),
        ("Load[first]", Endpoint("Load", "first", is_strict=True)),
        ("Load [ first ] ", Endpoint("Load", "first", is_strict=True)),
        ("A_b_c[first]", Endpoint("A b c", "first", is_strict=True)),
        ("Load[]", Endpoint("Load", "", is_strict=True)),
        ("Load_first", Endpoint("Load", "first")),
        ("Load__first", Endpoint("Load", "first")),
        ("Load_", Endpoint("Load")),
        ("Load_Data_first", Endpoint("Load_Data", "first")),
        ("Load Data_first", Endpoint("Load Data", "first")),
        ("A_b_c_first", Endpoint("A b c", "first")),
        ("A_on_success", Endpoint("A", "on_success")),
        ("ends_with_first", Endpoint("ends_with_first")),
    ],
)
def test_an_endpoint_means_the_longest_label_that_fits(text: str, endpoint: Endpoint) -> None:
    assert LABELS.find(text) == endpoint


@pytest.mark.parametrize("text", ["", "Loa", "load", "Nobody[first]", "Nobody_first", "[first]"])
def test_nothing_is_guessed(text: str) -> None:
    assert LABELS.find(text) is None


def test_a_label_with_spaces_around_it_can_have_a_handle() -> None:
    labels = Labels([" A ", "\u2028"])
    assert labels.find(" A [first]") == Endpoint(" A ", "first", is_strict=True)
    assert labels.find("\u2028[first]") == Endpoint("\u2028", "first", is_strict=True)
    assert labels.find("A[first]") is None


def test_a_very_long_text_is_only_compared_as_a_whole() -> None:
    long = "_" * 300_000
    labels = Labels([long, long[:-1]])
    assert labels.find(long) == Endpoint(long)
    assert labels.find(long + "_") is None
