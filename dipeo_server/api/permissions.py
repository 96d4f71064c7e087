"""Who may ask for what: every field of the schema is named here, or nobody may ask for it.

A schema with a field that is missing here cannot be built. What a type has from an interface is
named at the interface.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from dipeo_server.domains.access.roles import Permission, Role

VIEWER: Final = Permission(Role.VIEWER)
OPERATOR: Final = Permission(Role.OPERATOR)
AUTHOR: Final = Permission(Role.AUTHOR)
ADMIN: Final = Permission(Role.ADMIN)
APPROVER: Final = Permission(Role.VIEWER, needs_approver=True)
APPROVING_OPERATOR: Final = Permission(Role.OPERATOR, needs_approver=True)

FOR_APPROVERS: Final[Mapping[str, str]] = {
    "Mutation": "approveBarrier rejectBarrier decideBarrier revokeDecision",
}
FOR_OPERATORS: Final[Mapping[str, str]] = {
    "Mutation": (
        "runDiagram pauseExecution resumeExecution abortExecution stepExecution forkExecution "
        "setBreakpoints retryNode skipNode setNodeOutput saveCheckpoint deleteCheckpoints"
    ),
}
FOR_AUTHORS: Final[Mapping[str, str]] = {
    "Mutation": "createDiagram updateDiagram archiveDiagram mutateGraph",
    "Query": "validateDiagram previewGraphMutation",
}
FOR_ADMINS: Final[Mapping[str, str]] = {
    "Mutation": "deleteExecution createToken revokeToken",
    "Query": "tokens audit",
}
FOR_VIEWERS: Final[Mapping[str, str]] = {
    "AlreadyDecided": "winner",
    "AuditConnection": "nodes pageInfo",
    "AuditEntry": "cursor at principal tokenId operation target requestId key outcome",
    "Barrier": (
        "execution nodeKey occurrence status prompt answerSchema waitingSince expiresAt "
        "defaultAction decidedAt decidedBy reason"
    ),
    "BarrierPayload": "barrier earlyDecision execution errors",
    "BarrierResolved": "nodeKey occurrence barrierId status action answer reason decidedBy",
    "BarrierWaiting": "nodeKey occurrence barrierId prompt answerSchema expiresAt",
    "Blocker": "reason nodeKey edgeKey detail",
    "BranchCompleted": "nodeKey occurrence branch isSuccess duration error",
    "Breakpoint": "nodeKey when condition",
    "BreakpointHit": "nodeKey occurrence when",
    "BreakpointsChanged": "breakpoints actor",
    "Checkpoint": "execution sequence trigger contentHash graphHash nextNode sizeBytes createdAt",
    "CheckpointConnection": "edges nodes pageInfo totalCount",
    "CheckpointConnectionEdge": "node cursor",
    "CheckpointFailed": "trigger message",
    "CheckpointPayload": "checkpoint errors",
    "CheckpointSaved": "checkpointId at trigger sizeBytes",
    "DeleteCheckpointsPayload": "deletedCount errors",
    "DeletePayload": "deletedId errors",
    "Dependency": "node dependsOn via",
    "Diagram": "name description createdAt updatedAt archivedAt head revision revisions executions",
    "DiagramConnection": "edges nodes pageInfo totalCount",
    "DiagramConnectionEdge": "node cursor",
    "DiagramEdge": (
        "key sourceHandle targetHandle label kind condition contentType priority transform "
        "source target"
    ),
    "DiagramInvalid": "problems",
    "DiagramMutated": "revisionNumber contentHash rerun unreachable actor",
    "DiagramNode": "key typeName label position props join fanOut type incoming outgoing",
    "DiagramPayload": "diagram revision errors",
    "DiagramProblem": "severity code message hint nodeKey edgeKey line column",
    "DiagramReport": "isValid problems content render",
    "DiagramRevision": (
        "number contentHash createdAt nodes edges persons node problems content render diagram"
    ),
    "DiagramRevisionConnection": "edges nodes pageInfo totalCount",
    "DiagramRevisionConnectionEdge": "node cursor",
    "EarlyDecision": "id nodeKey occurrence action reason reroute expiresAt usesLeft createdBy",
    "EarlyDecisionChanged": "decisionId nodeKey occurrence change actor",
    "Envelope": (
        "producedBy occurrence contentType meta timestamp hasError body sizeBytes isTruncated"
    ),
    "ExecutionAborted": "duration tokenUsage reason actor",
    "ExecutionCompleted": "duration tokenUsage observedErrors",
    "ExecutionConnection": "edges nodes pageInfo totalCount",
    "ExecutionConnectionEdge": "node cursor",
    "ExecutionError": "code message nodeKey isRetryable hint",
    "ExecutionEvent": "sequence executionId timestamp traceId",
    "ExecutionEventConnection": "nodes pageInfo",
    "ExecutionFailed": "duration tokenUsage error errors",
    "ExecutionGraph": "states edges groups render",
    "ExecutionMetrics": (
        "nodeRuns succeeded failed skipped retried maxParallelism busy wait criticalPath path "
        "tokenUsage"
    ),
    "ExecutionPayload": "execution errors",
    "ExecutionStarted": "revisionNumber contentHash variables actor parentId forkedAt",
    "ExecutionState": (
        "status isActive startedAt endedAt duration error tokenUsage lastSequence variables "
        "availableActions pauseReason pauseCause breakpoints earlyDecisions maxSteps maxTokens "
        "maxTime nodeStates nodeState nodeOutputs output events logs metrics timeline render "
        "mergedHistory executionGraph dependencyGraph forkedAt diagram revision barriers "
        "stateAt parent checkpoints children"
    ),
    "ExecutionStatusChanged": "from to reason actor cause",
    "GraphEdge": "from to",
    "GraphGroup": "id kind executionId label parent states",
    "GraphState": "id executionId sequence nodeKey summary",
    "HistoryEntry": "key name value sequence nodeKey conflict isDeleted isTruncated",
    "InvalidTransition": "current allowed",
    "LimitRaised": "maxSteps actor maxTokens maxTime",
    "LogConnection": "nodes pageInfo",
    "LogLine": "cursor nodeKey occurrence attempt stream level text timestamp",
    "MutationImpact": "kept rerun unreachable problems",
    "Node": "id",
    "NodeCompleted": "nodeKey occurrence attempt spanId duration tokenUsage output ports",
    "NodeFailed": "nodeKey occurrence attempt spanId duration tokenUsage error willRetry",
    "NodeInterrupted": "nodeKey occurrence attempt spanId reason willRerun",
    "NodeMaxIterationsReached": "nodeKey occurrence limit",
    "NodeOutputSet": "nodeKey occurrence attempt output ports reason actor",
    "NodeReported": "nodeKey occurrence attempt status",
    "NodeRetryScheduled": "nodeKey occurrence attempt dueAt error actor",
    "NodeRun": (
        "occurrence attempt status startedAt endedAt duration error tokenUsage output "
        "revisionNumber"
    ),
    "NodeSkipped": "nodeKey occurrence reason actor comment",
    "NodeStarted": "nodeKey occurrence attempt spanId revisionNumber",
    "NodeState": (
        "nodeKey status occurrence attempt startedAt endedAt duration error skipReason "
        "tokenUsage node blockedBy fingerprint output runs inputs"
    ),
    "NodeTypeInfo": "type label description category propsSchema inputs outputs afterCrash",
    "ObservedError": "nodeKey occurrence error",
    "PageInfo": "hasNextPage hasPreviousPage startCursor endCursor",
    "ParallelCompleted": "nodeKey occurrence duration",
    "ParallelStarted": "nodeKey occurrence branches",
    "Person": "key label service model systemPrompt secretRef",
    "Position": "x y",
    "Principal": "name role isApprover",
    "Query": (
        "node nodes serverInfo me nodeTypes diagram diagramByName diagrams execution executions "
        "barrier waitingBarriers"
    ),
    "ResolvedInput": "name value edgeKey producedBy occurrence transforms",
    "ResultDiscarded": "nodeKey occurrence attempt reason",
    "ResyncRequired": "reason snapshot",
    "RunnerRestarted": "interrupted",
    "ServerInfo": "version schemaHash isolation limits store storageProblem runner",
    "StaleRevision": "head",
    "StateChanged": "nodeKey occurrence key value isDeleted",
    "Subscription": (
        "executionEvents executionUpdated executionsChanged executionLogs barrierWaiting "
        "diagramChanged"
    ),
    "TimelineEntry": "nodeKey occurrence attempt readyAt startedAt endedAt status",
    "Token": "id name role isApprover createdAt createdBy expiresAt revokedAt lastUsedAt isValid",
    "TokenPayload": "token text errors",
    "TokenUsage": "input output cached total",
    "UserError": "message field code hint",
}

DECLARED: Final[tuple[tuple[Permission, Mapping[str, str]], ...]] = (
    (VIEWER, FOR_VIEWERS),
    (OPERATOR, FOR_OPERATORS),
    (AUTHOR, FOR_AUTHORS),
    (ADMIN, FOR_ADMINS),
    (APPROVER, FOR_APPROVERS),
)
"""The permission of every field, by type."""

ARGUMENTS: Final[Mapping[str, Permission]] = {
    "Mutation.runDiagram(input.source.inline)": AUTHOR,
    "Mutation.forkExecution(overrides.mutations)": AUTHOR,
    "Mutation.runDiagram(input.initialState)": APPROVING_OPERATOR,
    "Mutation.forkExecution(overrides.outputs)": APPROVING_OPERATOR,
    "Mutation.setNodeOutput(output)": APPROVING_OPERATOR,
}
"""What an argument needs beyond its field: a diagram that is sent may run anything it likes, and a
result that is given to a barrier, or to what may have one inside, stands in for its approval (for
other nodes the field will do)."""
