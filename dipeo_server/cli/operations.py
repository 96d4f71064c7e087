"""What the command line asks a server: the GraphQL documents, and the shapes of their answers."""

from __future__ import annotations

from typing import Final

# Fields of one name differ in type between events, hence the aliases.
_EVENT: Final = """
    __typename
    ... on ExecutionEvent { sequence timestamp }
    ... on ExecutionStatusChanged { from to cause changeReason: reason }
    ... on NodeStarted { nodeKey visit: occurrence attempt }
    ... on NodeCompleted { nodeKey visit: occurrence attempt duration ports }
    ... on NodeFailed {
      nodeKey visit: occurrence attempt duration willRetry failure: error { code message }
    }
    ... on NodeInterrupted { nodeKey visit: occurrence attempt why: reason willRerun }
    ... on NodeSkipped { nodeKey why: reason comment actor }
    ... on NodeRetryScheduled { nodeKey visit: occurrence attempt dueAt actor }
    ... on NodeMaxIterationsReached { nodeKey visit: occurrence limit }
    ... on NodeOutputSet { nodeKey visit: occurrence why: reason actor }
    ... on ObservedError { place: nodeKey failure: error { code message } }
    ... on BarrierWaiting { nodeKey visit: occurrence barrierId }
    ... on BarrierResolved { nodeKey visit: occurrence barrierId barrierStatus: status decidedBy }
    ... on EarlyDecisionChanged { nodeKey decidedVisit: occurrence change decisionId actor }
    ... on BreakpointsChanged { breakpoints { nodeKey when condition } actor }
    ... on BreakpointHit { nodeKey visit: occurrence when }
    ... on LimitRaised { maxSteps maxTokens maxTime actor }
    ... on DiagramMutated { mutatedTo: revisionNumber actor }
    ... on ParallelStarted { nodeKey visit: occurrence branches }
    ... on BranchCompleted { nodeKey visit: occurrence branch isSuccess duration }
    ... on StateChanged { variable: key isDeleted }
    ... on ExecutionFailed { failure: error { code message } }
    ... on ExecutionAborted { changeReason: reason }
"""

EVENTS: Final = f"""
subscription Events($id: ID!, $after: Sequence) {{
  executionEvents(executionId: $id, after: $after) {{
    {_EVENT}
    ... on ResyncRequired {{ snapshot {{ lastSequence }} }}
  }}
}}
"""

STORED_EVENTS: Final = f"""
query StoredEvents($id: ID!, $first: Int!, $after: Sequence) {{
  execution(id: $id) {{
    events(first: $first, after: $after) {{
      nodes {{ {_EVENT} }}
      pageInfo {{ hasNextPage endCursor }}
    }}
  }}
}}
"""

_USER_ERROR: Final = "__typename code message hint field"
_PROBLEM: Final = "severity code message hint nodeKey edgeKey line column"

RUN: Final = f"""
mutation Run($input: RunDiagramInput!, $key: String) {{
  runDiagram(input: $input, idempotencyKey: $key) {{
    execution {{
      id
      revision {{ nodes {{ key label type }} problems {{ code }} }}
    }}
    errors {{ {_USER_ERROR} ... on DiagramInvalid {{ problems {{ {_PROBLEM} }} }} }}
  }}
}}
"""

PROBLEMS: Final = f"""
query Problems($content: String!, $format: DiagramFormat) {{
  validateDiagram(content: $content, format: $format) {{ problems {{ {_PROBLEM} }} }}
}}
"""

ABORT: Final = f"""
mutation Abort($id: ID!, $reason: String) {{
  abortExecution(id: $id, reason: $reason) {{ errors {{ {_USER_ERROR} }} }}
}}
"""

APPROVE: Final = f"""
mutation Approve($id: ID!, $answer: JSON, $comment: String) {{
  approveBarrier(id: $id, answer: $answer, comment: $comment) {{ errors {{ {_USER_ERROR} }} }}
}}
"""

REJECT: Final = f"""
mutation Reject($id: ID!, $reason: String!) {{
  rejectBarrier(id: $id, reason: $reason) {{ errors {{ {_USER_ERROR} }} }}
}}
"""

ACTIVE: Final = "query Active($id: ID!) { execution(id: $id) { isActive } }"

SURVEY: Final = """
query Survey($id: ID!) {
  execution(id: $id) {
    id
    status
    pauseCause
    maxSteps
    maxTokens
    maxTime
    tokenUsage { total }
    nodeStates(statuses: [RUNNING, WAITING]) { nodeKey status node { label type } }
    barriers(status: WAITING) { id nodeKey occurrence prompt answerSchema }
    children(first: 100) { nodes { id isActive } }
  }
}
"""

_TOKENS: Final = "tokenUsage { input output cached total }"
_ERROR: Final = "error { code message hint nodeKey isRetryable }"

RESULT: Final = f"""
query Result($id: ID!) {{
  execution(id: $id) {{
    id status startedAt endedAt duration lastSequence variables {_TOKENS} {_ERROR}
    nodeStates {{
      nodeKey status occurrence attempt startedAt endedAt duration skipReason {_TOKENS} {_ERROR}
      node {{ label type }}
      output {{ contentType body sizeBytes isTruncated meta }}
      runs {{ occurrence status startedAt }}
    }}
  }}
}}
"""

_LOG_LINE: Final = "cursor nodeKey occurrence attempt stream level text timestamp"

LOGS: Final = f"""
subscription Logs($id: ID!, $node: String, $after: String) {{
  executionLogs(executionId: $id, nodeKey: $node, after: $after) {{ {_LOG_LINE} }}
}}
"""

STORED_LOGS: Final = f"""
query StoredLogs($id: ID!, $first: Int!, $node: String, $after: String) {{
  execution(id: $id) {{
    logs(first: $first, after: $after, nodeKey: $node) {{
      nodes {{ {_LOG_LINE} }}
      pageInfo {{ hasNextPage endCursor }}
    }}
  }}
}}
"""

EXECUTIONS: Final = """
query Executions($first: Int!, $after: String, $filter: ExecutionFilter) {
  executions(first: $first, after: $after, filter: $filter) {
    nodes {
      id status startedAt endedAt duration
      diagram { id name }
      parent { id }
      error { code message nodeKey }
      tokenUsage { total }
    }
    pageInfo { hasNextPage endCursor }
    totalCount
  }
}
"""
