"""What a log tells: visits, their inputs, the timeline, the figures, and durations."""

from datetime import timedelta

from dipeo_server.api.history import Before, History, RunRecord, fold
from dipeo_server.domains.execution.events import ExecutionCompleted
from dipeo_server.domains.execution.ids import NodeRun
from dipeo_server.domains.execution.signals import OutputGiven, PauseRequested, SkipRequested
from dipeo_server.domains.execution.status import NodeExecutionStatus
from tests.builders import NOON, Story


def told(story: Story) -> History:
    return fold(story.log)


def diamond() -> Story:
    """s → a (2 s) and b (5 s) → d (1 s)."""
    story = Story("s -> a -> d; s -> b -> d")
    story.returns("s", 1)
    story.wait(2)
    story.returns("a", 2)
    story.wait(3)
    story.returns("b", 3)
    story.wait(1)
    story.returns("d", 4)
    return story


def test_every_visit_has_its_times_and_its_output() -> None:
    story = diamond()
    [run] = told(story).runs_of("b")
    assert run.node_run == NodeRun("b", 1)
    assert run.status is NodeExecutionStatus.COMPLETED
    assert run.started_at == NOON
    assert run.ended_at == NOON + timedelta(seconds=5)
    assert run.output is not None
    assert run.output.body == 3


def test_the_inputs_of_a_visit_are_those_it_was_given() -> None:
    history = told(diamond())
    bodies = {ref.envelope.produced_by: ref.envelope.body for ref in history.inputs["d", 1]}
    assert bodies == {"a": 2, "b": 3}
    assert history.inputs["s", 1] == ()


def test_the_critical_path_follows_what_came_last() -> None:
    history = told(diamond())
    assert history.critical_path == ("s", "b", "d")
    assert history.metrics.path == ("s", "a", "b", "d")
    assert history.metrics.max_parallelism == 2
    assert history.metrics.busy == timedelta(seconds=8)
    assert history.wait == timedelta(0)


def test_a_loop_gives_a_visit_for_each_turn() -> None:
    story = Story("s -> a -> c; c.t -> a; c.f -> e")
    story.returns("s")
    for turn in range(3):
        story.returns("a", turn)
        story.returns("c", turn, port="condtrue" if turn < 2 else "condfalse")
    history = told(story)
    assert [run.node_run.occurrence for run in history.runs_of("a")] == [1, 2, 3]
    assert [ref.envelope.body for ref in history.inputs["a", 3]] == [1]


def test_a_retry_is_another_attempt_of_the_same_visit() -> None:
    story = Story("s -> a", props={"a": {"retry": {"attempts": 2}}})
    story.returns("s")
    story.raises("a", retryable=True)
    story.fires("a")
    story.returns("a", "at last")
    history = told(story)
    assert [(run.node_run.attempt, run.status) for run in history.runs_of("a")] == [
        (1, NodeExecutionStatus.FAILED),
        (2, NodeExecutionStatus.COMPLETED),
    ]
    assert history.runs_of("a")[0].failure is not None
    assert history.metrics.retried == 1


def test_a_visit_that_waits_for_a_person_is_waiting() -> None:
    story = Story("s -> g -> a")
    story.returns("s")
    story.asks("g")
    [run] = told(story).runs_of("g")
    assert run.status is NodeExecutionStatus.WAITING
    assert run.started_at == NOON
    assert run.ended_at is None


def test_a_visit_that_a_crash_cut_off_is_aborted_and_comes_again() -> None:
    story = Story("s -> a")
    story.returns("s")
    story.restarts()
    story.returns("a")
    runs = told(story).runs_of("a")
    assert [run.status for run in runs] == [
        NodeExecutionStatus.ABORTED,
        NodeExecutionStatus.COMPLETED,
    ]
    assert [run.node_run.attempt for run in runs] == [1, 2]


def test_a_node_at_its_limit_has_a_visit_without_length() -> None:
    story = Story("s -> a -> c; c.t -> a; c.f -> e", props={"a": {"max_iteration": 1}})
    story.returns("s")
    story.returns("a")
    story.returns("c", port="condtrue")
    last = told(story).runs_of("a")[-1]
    assert last == RunRecord(NodeRun("a", 2), NodeExecutionStatus.MAXITER_REACHED, None, NOON, NOON)


def test_a_pause_lets_ready_nodes_wait() -> None:
    story = Story("s -> a", max_steps=1)
    story.returns("s")
    story.wait(10)
    story.resumes(max_steps=5)
    story.returns("a")
    [run] = told(story).runs_of("a")
    assert run.ready_at == NOON
    assert run.started_at == NOON + timedelta(seconds=10)
    assert told(story).wait == timedelta(seconds=10)


def test_a_result_given_by_hand_is_a_visit_without_a_beginning() -> None:
    story = Story("s -> a")
    story.tell(PauseRequested())
    story.returns("s")
    story.tell(OutputGiven("a", 5))
    [run] = told(story).runs_of("a")
    assert (run.node_run, run.status) == (NodeRun("a", 1), NodeExecutionStatus.COMPLETED)
    assert (run.started_at, run.ended_at) == (None, NOON)
    assert run.output is not None
    assert run.output.body == 5


def test_a_result_given_to_a_running_visit_ends_it() -> None:
    story = Story("s -> a")
    story.returns("s")
    story.wait(3)
    story.tell(OutputGiven("a", 5))
    [run] = told(story).runs_of("a")
    assert run.status is NodeExecutionStatus.COMPLETED
    assert (run.started_at, run.ended_at) == (NOON, NOON + timedelta(seconds=3))


def test_a_running_visit_that_is_skipped_ends_there() -> None:
    story = Story("s -> a -> b")
    story.returns("s")
    story.wait(3)
    story.tell(SkipRequested("a"))
    [run] = told(story).runs_of("a")
    assert run.status is NodeExecutionStatus.SKIPPED
    assert run.ended_at == NOON + timedelta(seconds=3)
    assert told(story).runs_of("b") == []


def test_visits_with_a_given_result_are_counted_for_skips() -> None:
    story = Story("s -> a")
    story.tell(PauseRequested())
    story.returns("s")
    story.tell(OutputGiven("a", 5))
    before = Before(is_complete=True)
    for recorded in story.log:
        before.observe(recorded)
    assert before.visits_of("a") == 1


def test_a_run_that_has_just_begun_has_a_history() -> None:
    history = fold(Story("s -> a").log[:1])
    assert history.runs == ()
    assert history.critical_path == ()


def test_durations_run_from_the_start() -> None:
    story = diamond()
    before = Before(is_complete=True)
    durations = []
    for recorded in story.log:
        assert before.knows(recorded)
        durations.append((type(recorded.event).__name__, before.duration_of(recorded)))
        before.observe(recorded)
    assert ("NodeCompleted", timedelta(seconds=5)) in durations
    assert durations[-1] == ("ExecutionCompleted", timedelta(seconds=6))


def test_a_reader_who_begins_later_knows_what_it_lacks() -> None:
    story = diamond()
    before = Before(is_complete=False)
    unknown = [recorded for recorded in story.log[5:] if not before.knows(recorded)]
    assert isinstance(unknown[-1].event, ExecutionCompleted)
    assert before.duration_of(story.log[-1]) == timedelta(0)


def test_visits_are_counted_for_skips() -> None:
    story = diamond()
    before = Before(is_complete=True)
    for recorded in story.log:
        before.observe(recorded)
    assert before.visits_of("a") == 1
    assert before.visits_of("never") == 0
