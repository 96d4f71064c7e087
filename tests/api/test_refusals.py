"""Errors as clients meet them: refusals as values, bugs as a number."""

import pytest
from graphql import GraphQLError, GraphQLSyntaxError, Source
from structlog.testing import capture_logs

from dipeo_server.api.masking import public_error, public_errors
from dipeo_server.api.types import problems
from dipeo_server.api.types.enums import ErrorCode, ExecutionAction
from dipeo_server.api.types.problems import UserError, user_error
from dipeo_server.domains.diagram.problem import DiagramInvalid, DiagramProblem, Severity
from dipeo_server.domains.execution.barrier import BarrierAlreadyDecided
from dipeo_server.domains.execution.events import BarrierAction
from dipeo_server.domains.execution.ids import BarrierID, ExecutionID
from dipeo_server.domains.execution.signals import PauseRequested
from dipeo_server.domains.execution.state import ExecutionView, view
from dipeo_server.domains.execution.status import ExecutionStatus
from dipeo_server.errors import (
    DipeoError,
    ExecutionFinished,
    IdempotencyMismatch,
    InvalidInput,
    LimitExceeded,
    NotFound,
    StorageFull,
    Unavailable,
)
from tests.builders import Story

RUN = ExecutionID("exec_0_abc")


def paused() -> ExecutionView:
    story = Story("s -> a")
    story.tell(PauseRequested())
    return view(story.state)


def value_of(refusal: DipeoError) -> UserError:
    return user_error(refusal, RUN, paused())


@pytest.mark.parametrize(
    "refusal, kind, code",
    [
        (InvalidInput("no"), problems.InputProblem, ErrorCode.INVALID),
        (LimitExceeded("no"), problems.InputProblem, ErrorCode.LIMIT_EXCEEDED),
        (IdempotencyMismatch("no"), problems.InputProblem, ErrorCode.IDEMPOTENCY_MISMATCH),
        (NotFound("no"), problems.NotFound, ErrorCode.NOT_FOUND),
        (ExecutionFinished("no"), problems.InvalidTransition, ErrorCode.INVALID_STATE),
        (DiagramInvalid([]), problems.DiagramInvalid, ErrorCode.INVALID),
        (StorageFull("no"), problems.ServiceProblem, ErrorCode.STORAGE_FULL),
        (Unavailable("no"), problems.ServiceProblem, ErrorCode.UNAVAILABLE),
    ],
)
def test_every_refusal_has_its_type(
    refusal: DipeoError, kind: type[UserError], code: ErrorCode
) -> None:
    found = value_of(refusal)
    assert type(found) is kind
    assert found.code is code
    assert found.message == refusal.message
    assert found.hint == refusal.hint


def test_a_wrong_argument_is_named() -> None:
    assert value_of(InvalidInput("no", field=("input", "maxSteps"))).field == ["input", "maxSteps"]
    assert value_of(IdempotencyMismatch("no")).field == ["idempotencyKey"]
    assert value_of(InvalidInput("no")).field is None


def test_a_refused_change_of_status_tells_what_is_possible() -> None:
    found = value_of(ExecutionFinished("no"))
    assert isinstance(found, problems.InvalidTransition)
    assert found.current is ExecutionStatus.PAUSED
    assert found.allowed == [
        ExecutionAction.RESUME,
        ExecutionAction.ABORT,
        ExecutionAction.FORK,
        ExecutionAction.SKIP_NODE,
        ExecutionAction.SET_OUTPUT,
        ExecutionAction.MUTATE,
    ]


def test_an_invalid_diagram_tells_all_its_problems() -> None:
    first = DiagramProblem(Severity.ERROR, "NO_START", "Where to begin?", node="a")
    second = DiagramProblem(Severity.WARNING, "UNKNOWN_PROP", "What is that?", hint="Drop it.")
    found = value_of(DiagramInvalid([first, second]))
    assert isinstance(found, problems.DiagramInvalid)
    assert [(each.code, each.node_key, each.hint) for each in found.problems] == [
        ("NO_START", "a", None),
        ("UNKNOWN_PROP", None, "Drop it."),
    ]


def test_the_winner_of_a_barrier_is_shown() -> None:
    story = Story("s -> g -> a")
    story.returns("s")
    story.asks("g")
    story.decides("g", BarrierAction.APPROVE, actor="ann")
    winner = story.state.barriers[BarrierID("g", 1)]
    found = value_of(BarrierAlreadyDecided(winner))
    assert isinstance(found, problems.AlreadyDecided)
    assert found.winner.decided_by == "ann"


def raised(error: Exception) -> GraphQLError:
    return GraphQLError("wrapped", path=["execution"], original_error=error)


def test_a_bug_is_a_number_for_clients_and_a_traceback_for_us() -> None:
    with capture_logs() as logs:
        found = public_error(raised(RuntimeError("secret path /srv/key sk-live-123")))
    extensions = found.extensions or {}
    assert extensions["code"] == "INTERNAL"
    error_id = str(extensions["errorId"])
    assert error_id in found.message
    assert "sk-live" not in str(found.formatted)
    assert [(each["event"], each["error_id"]) for each in logs] == [("internal_error", error_id)]
    assert "sk-live-123" in str(logs[0]["exc_info"])


def test_a_refusal_outside_of_mutations_has_its_code() -> None:
    found = public_error(raised(InvalidInput("No.", field=("first",), hint="Smaller.")))
    assert found.message == "No."
    assert found.extensions == {"code": "INVALID", "hint": "Smaller.", "field": ["first"]}
    assert found.path == ["execution"]


@pytest.mark.parametrize(
    "error, code",
    [
        (GraphQLSyntaxError(Source("{"), 1, "Expected Name"), "GRAPHQL_PARSE_FAILED"),
        (GraphQLError("Variable '$a' got invalid value 1."), "BAD_USER_INPUT"),
        (raised(GraphQLError("OneOf", path=["a"])), "BAD_USER_INPUT"),
        (raised(RecursionError()), "LIMIT_EXCEEDED"),
        (GraphQLError("mine", extensions={"code": "MINE"}), "MINE"),
    ],
)
def test_every_error_has_a_code(error: GraphQLError, code: str) -> None:
    [found] = public_errors([error]) or []
    assert (found.extensions or {})["code"] == code


def test_no_errors_stay_none() -> None:
    assert public_errors(None) is None
