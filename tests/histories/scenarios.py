"""What the frozen histories tell, by name: functions from a diagram to how its run ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from tests.builders import Story
from tests.histories import changed, flows, kept, steered

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
        *(changed.node_added_live, changed.node_added_at_a_pause, changed.branch_deleted_live),
        *(changed.branch_deleted_at_a_pause, changed.settings_changed_live),
        *(changed.settings_changed_at_a_pause, changed.kind_changed, changed.edge_deleted_live),
        *(changed.edge_moved_at_a_pause, changed.dependency_added_live),
        *(changed.exit_of_a_running_loop, changed.loop_before_it_began),
        *(changed.node_taken_out_and_back, changed.changed_by_resuming),
        changed.changed_after_a_restart,
        *(kept.fork_with_overrides, kept.fork_of_a_fork, kept.fork_from_within_a_batch),
        *(kept.fork_that_begins_paused, kept.fork_of_a_child, kept.fork_with_another_graph),
        *(kept.fork_of_a_changed_graph, kept.kept_at_decisions, kept.kept_on_request),
        *(kept.kept_at_every_step, kept.kept_where_much_would_be_lost, kept.kept_and_lost),
        *(kept.held_where_nothing_is_kept, kept.failed_where_nothing_is_kept),
        *(kept.kept_over_a_change_and_a_fork, kept.decisions_ahead_of_time),
        *(kept.results_given_by_hand, kept.a_branch_of_a_group_fails, kept.time_is_spent),
        *(kept.held_with_its_parent, kept.late_for_the_end),
    )
}
