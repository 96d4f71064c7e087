"""What the frozen histories tell, by name: functions from a diagram to how its run ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from tests.builders import Story
from tests.histories import flows, steered

SCENARIOS: Final[Mapping[str, Callable[[], Story]]] = {
    told.__name__: told
    for told in (
        *(flows.chain, flows.loop, flows.nested_loops, flows.max_iterations),
        *(flows.branches_not_taken, flows.branch_skipped, flows.side_by_side, flows.first_of_many),
        *(flows.retried, flows.failed_and_fell_back, flows.default_output, flows.failed_fast),
        *(flows.failures_collected, flows.partly_collected, flows.conflicting_writes),
        *(flows.delayed, flows.went_to_and_ended, flows.parallel_group, flows.sub_diagram),
        *(flows.initial_results, flows.still_running),
        *(steered.barrier_approved, steered.barrier_modified, steered.barrier_rejected),
        *(steered.barrier_rejected_without_edge, steered.barrier_skipped),
        *(steered.barrier_rerouted, steered.barrier_timed_out, steered.question_answered),
        *(steered.early_decisions, steered.paused_and_resumed, steered.paused_at_once),
        *(steered.stepped, steered.breakpoints_hit, steered.limits_raised, steered.aborted),
        *(steered.aborted_while_asking, steered.restarted, steered.output_given),
        *(steered.skipped_by_hand, steered.retried_by_hand),
        steered.forked,
    )
}
