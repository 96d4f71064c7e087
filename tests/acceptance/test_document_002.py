"""Source document 002, "Core Execution Module": its usage examples as written, and its lines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dipeo_server.domains.diagram.executable import ExecutableDiagram, ExecutableNode
from dipeo_server.domains.execution.context import ExecutionContext
from dipeo_server.domains.execution.envelope import ContentType, Envelope, EnvelopeFactory
from dipeo_server.domains.execution.ids import Seq
from dipeo_server.domains.execution.order import DynamicOrderCalculator
from dipeo_server.domains.execution.ports import StateStore
from dipeo_server.domains.execution.resolver import RuntimeResolver
from dipeo_server.domains.execution.state_manager import ExecutionStateManager
from dipeo_server.domains.execution.status import ExecutionStatus, NodeExecutionStatus
from dipeo_server.domains.execution.strategy import NodeStrategyProtocol, StrategyRegistry
from dipeo_server.domains.execution.tracker import ExecutionTracker
from dipeo_server.domains.execution.transformation import (
    TransformationRegistry,
    TransformRule,
)
from dipeo_server.domains.execution.typed_output import BaseNodeOutput, TextOutput
from dipeo_server.errors import InvalidInput, InvalidState, NodeTypeUnavailable
from dipeo_server.storage.opening import open_store
from tests.builders import diagram as diagram_of

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Adds:
    """A strategy for every type of the tests' diagrams: one more than the sum of the inputs."""

    def can_handle(self, node_type: str) -> bool:
        return node_type in {"start", "work", "endpoint"}

    async def execute(
        self,
        node: ExecutableNode,
        context: ExecutionContext,  # noqa: ARG002 - as the protocol has it.
        inputs: Mapping[str, Any],
    ) -> Envelope:
        found = [value for value in inputs.values() if not isinstance(value, list)]
        found += [item for value in inputs.values() if isinstance(value, list) for item in value]
        return EnvelopeFactory.create(node.key, 1 + sum(found), timestamp=datetime.now(UTC))


async def execute_node(node_id: str, context: ExecutionContext) -> Envelope:
    node = context.diagram.get_node(node_id)
    inputs = RuntimeResolver().resolve_inputs(node, context)
    return await Adds().execute(node, context, inputs)


@pytest.fixture
async def state_store(tmp_path: Path) -> AsyncIterator[StateStore]:
    store = await open_store(f"sqlite:{tmp_path / 'states.db'}")
    yield store
    await store.close()


@pytest.fixture
def diagram() -> ExecutableDiagram:
    return diagram_of("s -> a -> j -> e; s -> b -> j")


async def test_the_basic_execution_flow_runs_as_written(diagram: ExecutableDiagram) -> None:
    strategy_registry = StrategyRegistry([Adds()])
    runtime_resolver = RuntimeResolver()
    tracker = ExecutionTracker()

    # Initialize execution context
    context = ExecutionContext(diagram, execution_id="exec-123")

    # Calculate ready nodes
    calculator = DynamicOrderCalculator(diagram)
    ready_nodes = calculator.get_ready_nodes(
        completed=context.completed_nodes,
        failed=context.failed_nodes,
    )

    # Execute nodes with strategies
    for node_id in ready_nodes:
        node = diagram.get_node(node_id)
        strategy = strategy_registry.get_strategy(node.type)

        # Resolve inputs
        inputs = runtime_resolver.resolve_inputs(node, context)

        # Execute with tracking
        tracker.record_node_start(node_id, datetime.now())  # noqa: DTZ005 - as the document has it.
        output = await strategy.execute(node, context, inputs)
        tracker.record_node_complete(node_id, output)

        # Store output
        context.store_output(node_id, output)

    assert ready_nodes == ["s"]
    assert context.completed_nodes == {"s"}
    assert tracker.get_execution_metrics().succeeded == 1


async def test_the_integration_test_of_the_document_runs_as_written(
    diagram: ExecutableDiagram,
) -> None:
    test_diagram = diagram
    context = ExecutionContext(test_diagram, "test-exec")
    calculator = DynamicOrderCalculator(test_diagram)

    # Execute all nodes
    while ready := calculator.get_ready_nodes(context.completed_nodes):
        for node_id in ready:
            output = await execute_node(node_id, context)
            context.store_output(node_id, output)

    assert context.completed_nodes == {"s", "a", "b", "j", "e"}
    e = context.get_output("e")
    assert e is not None
    assert e.body == 6


def test_the_unit_test_of_the_document_runs_as_written() -> None:
    output = TextOutput(
        value="test",
        node_id="node-1",
        metadata={"key": "value"},
    )
    assert output.has_error() is False
    assert output.get_output("key") == "value"


def test_the_custom_output_of_the_document_runs_as_written() -> None:
    @dataclass
    class CustomOutput(BaseNodeOutput[dict[str, Any]]):
        """Custom output for specialized node"""

        def validate(self) -> bool:
            """Validate output structure"""
            return "required_field" in self.value

        def transform(self) -> Any:
            """Transform for downstream consumption"""
            return self.value.get("data", {})

    good = CustomOutput({"required_field": 1, "data": {"x": 2}})
    assert good.validate()
    assert good.to_node_output().value == {"default": {"x": 2}}
    assert not CustomOutput({}).validate()


async def test_002_04_the_state_management_of_the_document_runs_as_written(
    state_store: StateStore, diagram: ExecutableDiagram
) -> None:
    execution_id = "exec-123"
    context = ExecutionContext(diagram, execution_id)
    calculator = DynamicOrderCalculator(diagram)
    for node_id in calculator.get_ready_nodes(context.completed_nodes):
        context.store_output(node_id, await execute_node(node_id, context))

    # Save execution state
    state_manager = ExecutionStateManager(state_store)
    await state_manager.save_state(execution_id, context.to_state())

    # Resume execution
    restored_state = await state_manager.load_state(execution_id)
    context = ExecutionContext.from_state(restored_state)

    assert context.completed_nodes == {"s"}
    assert calculator.get_ready_nodes(context.completed_nodes) == ["a", "b"]
    while ready := calculator.get_ready_nodes(context.completed_nodes):
        for node_id in ready:
            context.store_output(node_id, await execute_node(node_id, context))
    await state_manager.save_state(execution_id, context.to_state())
    final = await state_manager.load_state(execution_id)
    assert final.status is ExecutionStatus.COMPLETED
    assert final.node_outputs["e"].body == 6


async def test_002_04_saving_is_atomic_and_repeating_it_changes_nothing(
    state_store: StateStore, diagram: ExecutableDiagram
) -> None:
    manager = ExecutionStateManager(state_store)
    context = ExecutionContext(diagram, "exec-1")
    context.store_output("e", EnvelopeFactory.create("e", 1))
    with pytest.raises(InvalidState, match="not running"):
        await manager.save_state("exec-1", context.to_state())
    assert await state_store.read(context.execution_id) == []
    context = ExecutionContext(diagram, "exec-1")
    context.store_output("s", EnvelopeFactory.create("s", 1, timestamp=NOON))
    first = await manager.save_state("exec-1", context.to_state())
    restored = ExecutionContext.from_state(await manager.load_state("exec-1"))
    assert await manager.save_state("exec-1", restored.to_state()) == first


async def test_002_04_a_node_status_is_told_once(
    state_store: StateStore, diagram: ExecutableDiagram
) -> None:
    manager = ExecutionStateManager(state_store)
    await manager.save_state("exec-1", ExecutionContext(diagram, "exec-1").to_state())
    await manager.update_node_status("exec-1", "s", "RUNNING")
    done = await manager.update_node_status("exec-1", "s", NodeExecutionStatus.COMPLETED)
    assert await manager.update_node_status("exec-1", "s", "COMPLETED") == done
    with pytest.raises(InvalidState):
        await manager.update_node_status("exec-1", "j", "COMPLETED")


async def test_002_09_a_state_has_the_documents_fields_at_any_sequence(
    state_store: StateStore, diagram: ExecutableDiagram
) -> None:
    manager = ExecutionStateManager(state_store)
    context = ExecutionContext(diagram, "exec-1")
    context.store_output("s", EnvelopeFactory.create("s", 1, timestamp=NOON))
    await manager.save_state("exec-1", context.to_state())
    early = await manager.load_state("exec-1", at=Seq(3))
    assert early.execution_id == "exec-1"
    assert early.node_states["s"].status is NodeExecutionStatus.RUNNING
    assert early.start_time is not None
    assert early.end_time is None
    late = await manager.load_state("exec-1")
    assert late.node_states["s"].status is NodeExecutionStatus.COMPLETED


def test_002_01_an_envelope_is_frozen_equal_by_value_and_survives_json() -> None:
    one = EnvelopeFactory.create("a", {"x": 1}, meta={"m": 2}, timestamp=NOON)
    assert one == EnvelopeFactory.create("a", {"x": 1}, meta={"m": 2}, timestamp=NOON)
    assert EnvelopeFactory.from_dict(one.to_dict()) == one
    assert (one.node_id, one.content_type) == ("a", ContentType.OBJECT)
    assert one.get_output("x") == 1
    assert one.get_output("y", 5) == 5
    assert not one.has_error()
    with pytest.raises(AttributeError):
        one.body = 3  # type: ignore[misc]  # that it cannot be set is what is tested
    with pytest.raises(InvalidInput, match="content type"):
        EnvelopeFactory.create("a", 1, content_type="nonsense")


def test_002_02_meta_is_copied_never_changed() -> None:
    one = EnvelopeFactory.create("a", 1, meta={"m": 2})
    two = one.with_meta(n=3)
    assert dict(one.meta) == {"m": 2}
    assert dict(two.meta) == {"m": 2, "n": 3}


def test_002_03_a_context_holds_outputs_and_survives_a_round_trip(
    diagram: ExecutableDiagram,
) -> None:
    context = ExecutionContext(diagram, "exec-1", variables={"v": 1})
    context.store_output("s", EnvelopeFactory.create("s", "x"))
    context.store_output("a", EnvelopeFactory.create("a", "bad", content_type="error"))
    context.metadata["note"] = "kept"
    again = ExecutionContext.from_state(context.to_state())
    assert again.completed_nodes == {"s"}
    assert again.failed_nodes == {"a"}
    assert again.metadata == {"note": "kept"}
    assert again.scope["v"] == 1
    assert again.get_output("b") is None


def test_002_05_the_tracker_counts_times_and_paths() -> None:
    tracker = ExecutionTracker()
    tracker.record_node_start("a", NOON)
    tracker.record_node_start("b", NOON)
    late = NOON + timedelta(seconds=3)
    tracker.record_node_complete("a", EnvelopeFactory.create("a", 1, timestamp=late))
    failed = EnvelopeFactory.create("b", "no", content_type="error", timestamp=late)
    tracker.record_node_complete("b", failed)
    metrics = tracker.get_execution_metrics()
    assert (metrics.succeeded, metrics.failed, metrics.success_rate) == (1, 1, 0.5)
    assert metrics.busy == timedelta(seconds=6)
    assert metrics.elapsed == timedelta(seconds=3)
    assert metrics.max_parallelism == 2
    assert metrics.path == ("a", "b")


def test_002_06_the_planner_orders_by_dependencies(diagram: ExecutableDiagram) -> None:
    calculator = DynamicOrderCalculator(diagram)
    assert calculator.calculate_dependencies("j") == {"a", "b"}
    assert calculator.get_ready_nodes({"s"}, set()) == ["a", "b"]
    assert calculator.get_ready_nodes({"s", "a"}, {"b"}) == []
    assert calculator.get_ready_nodes({"s", "a"}, skipped={"b"}) == ["j"]
    assert calculator.parallel_sets() == [["s"], ["a", "b"], ["j"], ["e"]]
    assert calculator.cycles() == []


def test_002_06_the_planner_sees_cycles_and_honours_priority() -> None:
    looped = diagram_of("s -> h -> c; c.f -> h; c.t -> e")
    assert DynamicOrderCalculator(looped).cycles() == [["c", "h"]]
    weighted = diagram_of("s -> a; s -> b", edges={"s>b": {"priority": 5}})
    assert DynamicOrderCalculator(weighted).get_ready_nodes({"s"}) == ["b", "a"]


def test_002_07_an_unknown_type_has_no_strategy_and_says_so() -> None:
    registry = StrategyRegistry([Adds()])
    strategy: NodeStrategyProtocol = registry.get_strategy("work")
    assert strategy.can_handle("work")
    with pytest.raises(NodeTypeUnavailable, match="'nonsense'"):
        registry.get_strategy("nonsense")


def test_002_08_inputs_are_named_coerced_and_transformed() -> None:
    drawn = diagram_of("s -> a -> e; s -> e", edges={"a>e": {"label": "sum"}})
    context = ExecutionContext(drawn, "exec-1")
    context.store_output("s", EnvelopeFactory.create("s", 1))
    context.store_output("a", EnvelopeFactory.create("a", 2))
    inputs = RuntimeResolver().resolve_inputs(drawn.get_node("e"), context)
    assert inputs == {"sum": 2, "default": 1}


def test_002_08_defaults_take_the_place_of_missing_inputs() -> None:
    drawn = diagram_of("s -> a -> e", props={"e": {"defaults": {"default": 7, "more": 8}}})
    context = ExecutionContext(drawn, "exec-1")
    resolver = RuntimeResolver()
    assert resolver.resolve_inputs(drawn.get_node("e"), context) == {"default": 7, "more": 8}
    context.store_output("a", EnvelopeFactory.create("a", 2))
    assert resolver.resolve_inputs(drawn.get_node("e"), context) == {"default": 2, "more": 8}


def test_002_12_a_registered_transformation_is_usable_by_name_with_precedence() -> None:
    registry = TransformationRegistry()
    registry.register("double", lambda value, _argument: value * 2, before="wrap")
    rules = registry.in_order({"wrap": "x", "double": True})
    assert [rule.name for rule in rules] == ["double", "wrap"]
    resolver = RuntimeResolver(registry)
    assert resolver.apply_transformations(4, rules) == {"x": 8}
    assert resolver.apply_transformations([1, 2], [TransformRule("extract", "1")]) == 2


def test_002_12_the_synchronous_api_is_gone() -> None:
    assert asyncio.iscoroutinefunction(ExecutionStateManager.save_state)
    assert asyncio.iscoroutinefunction(ExecutionStateManager.load_state)
    assert asyncio.iscoroutinefunction(Adds.execute)
